"""What is known of tracks when all that shows them is gone."""

import numpy as np
from test_link import chunk, index, person, run, tracklet

from cluster.linked import link_facts
from pipeline.track import Treatment


def test_the_best_frame_is_a_good_look_where_the_face_is_replaced() -> None:
    analyses = [chunk(0, 0, 100, tracklet(0, 20, 80, person(1)), tracklet(1, 30, 60, x=400, size=9))]
    linked = run(analyses, index(100))
    (first, second) = link_facts(linked, analyses).tracks
    assert first.best == 20  # the only look at them
    assert first.seen == (20, 81)
    assert (first.first, first.last) == (12, 89)  # with guessed ends
    x0, y0, x1, y1 = first.best_box
    assert (x1 - x0, y1 - y0) == (80, 96)
    assert 30 <= second.best <= 60  # of somebody who is never seen well, a frame on which they were seen
    assert "replace" not in second.treatments


def test_a_face_that_is_nowhere_replaced_is_shown_where_it_was_looked_at_best() -> None:
    analyses = [chunk(0, 0, 100, tracklet(0, 20, 80, person(1)))]
    linked = run(analyses, index(100), veil="solid")
    (track,) = linked.tracks
    assert set(np.unique(track.treatment)) == {Treatment.COVER_ALL}
    assert link_facts(linked, analyses).tracks[0].best == 20
