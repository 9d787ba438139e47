"""Pictures through `veilfarm serve`: brought by browser and command, looked at and fetched as what they are."""

from pathlib import Path

import httpx2
import numpy as np
from browser import Watcher, becomes, check
from command import veilfarm
from PIL import Image
from playwright.sync_api import Browser, expect
from portrait import FILE
from serving import PATIENCE, FarmStore, address
from stillgen import DELAYS, animate, smooth


def photo(path: Path) -> Path:
    """A face of nobody before a wall; turned by EXIF, as phones do it."""
    image = smooth().resize((800, 500))
    image.paste(Image.open(FILE), (220, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(path, quality=92, exif=exif)
    return path


def test_pictures_are_brought_looked_at_and_fetched(browser: Browser, tmp_path: Path) -> None:
    source, moving = photo(tmp_path / "crowd.jpg"), animate(tmp_path / "wave.gif")
    farm = FarmStore(str(tmp_path / "store"), tmp_path)
    with farm.serve("--workers", "1", "--listen", "127.0.0.1:0") as serving:
        url, token = address(serving)
        kim = Watcher(browser, url, token, viewport={"width": 1280, "height": 1000})
        page = kim.page
        page.get_by_text("Settings").click()
        page.get_by_label("Every face becomes").select_option("mosaic")
        page.get_by_label("Look at it before it is released").check()
        page.get_by_label("choose files").set_input_files(source)
        row = page.get_by_role("row", name="crowd.jpg")
        expect(row).to_contain_text("To be reviewed", timeout=PATIENCE * 1000)
        row.get_by_role("link").click()
        page.get_by_role("link", name="Compare").first.click()
        page.get_by_role("button", name="Show the original").click()
        for side in ("after", "before"):
            becomes(kim, f"document.querySelector('img#{side}')?.naturalWidth === 800")
        expect(page.get_by_role("button", name="Play")).to_have_count(0)
        expect(page.get_by_role("alert")).to_be_hidden()
        check(kim, "picture-compare", "light")
        page.get_by_role("link", name="People", exact=True).click()
        expect(page.get_by_role("article", name="Person 1")).to_be_visible()
        page.get_by_role("button", name="Release the film").click()
        page.get_by_role("dialog").get_by_role("button", name="Yes").click()
        with page.expect_download(timeout=PATIENCE * 1000) as fetched:
            page.get_by_role("link", name="Download").click(timeout=PATIENCE * 1000)
        assert fetched.value.suggested_filename == "crowd.jpg"
        fetched.value.save_as(tmp_path / "safe.jpg")
        with Image.open(tmp_path / "safe.jpg") as safe, Image.open(source) as before:
            assert (safe.format, safe.size, dict(safe.getexif())) == ("JPEG", (800, 500), {})
            upright = before.transpose(Image.Transpose.ROTATE_270)
            apart = np.abs(np.asarray(safe).astype(int) - np.asarray(upright)).max(2)
        assert apart[160:380, 330:500].mean() > 5
        assert apart[:, :200].mean() < 1
        job = farm.submit(moving)
        farm.reached(job, farm.book.control(job).state.DONE)
        answer = httpx2.get(f"{url}/v1/jobs/{job}/film", headers={"Authorization": f"Bearer {token}"})
        assert answer.headers["content-type"] == "image/gif"
        assert "wave.gif" in answer.headers["content-disposition"]
        (tmp_path / "safe.gif").write_bytes(answer.content)
        with Image.open(tmp_path / "safe.gif") as safe:
            assert (safe.format, safe.n_frames) == ("GIF", len(DELAYS))
        assert veilfarm("verify", moving, tmp_path / "safe.gif").code == 0
        page.goto(f"/jobs/{job}/compare")
        becomes(kim, "document.querySelector('img#after')?.naturalWidth > 0")
        kim.close()
        assert serving.end() == 0
