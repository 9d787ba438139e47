"""A real S3 server: Ceph's gateway before a monitor and a storage daemon in memory, on loopback, for a while.

Three things make it start in a second and always: short Paxos intervals, no update of the CRUSH map when the storage
daemon starts (else it hangs one time in four), and no keys between the daemons. S3 keys are checked as always.
"""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from servers import free_port, listens, needed, process, wait_for

from storage.cache import Cache
from storage.s3 import S3Store
from storage.settings import S3Settings

PACKAGES = "radosgw ceph-mon ceph-osd ceph-common"
ACCESS, SECRET = "vfkey", "vf-Secret+123/="
MEMORY = 2 << 30  # bytes that it holds

_CONF = """
[global]
fsid = {fsid}
mon host = [v1:127.0.0.1:{mon_port}]
public addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon warn on pool no redundancy = false
mon data avail crit = 1
mon data avail warn = 2
mon tick interval = 1
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/log/$name.log
mon cluster log file = {folder}/log/cluster.log
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {memory}
osd memory target = 939524096
osd max object name len = 1024
osd class update on start = false
osd crush update on start = false
ms bind msgr2 = false
paxos propose interval = 0.02
paxos min wait = 0.01
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 32
rgw enable usage log = false
rgw gc max objs = 4
rgw lc max objs = 2
rgw run sync thread = false
rgw enable apis = s3
"""


@dataclass(frozen=True)
class Gateway:
    """A running server, and who may use it."""

    folder: Path
    port: int
    access: str = ACCESS
    secret: str = SECRET

    @property
    def settings(self) -> S3Settings:
        """How to reach it."""
        return S3Settings(f"127.0.0.1:{self.port}", self.access, self.secret, secure=False)

    def environment(self, cache: Path) -> dict[str, str]:
        """How the project's own commands reach it."""
        return {
            "VEILFARM_S3_ENDPOINT": f"http://{self.settings.endpoint}",
            "VEILFARM_S3_ACCESS_KEY": self.access,
            "VEILFARM_S3_SECRET_KEY": self.secret,
            "VEILFARM_CACHE": str(cache),
        }

    def new_bucket(self, cache: Path) -> str:
        """The name of a new, empty one."""
        name = f"b{time.monotonic_ns()}"
        S3Store(self.settings, name, "", Cache(cache, 0)).bucket.client.make_bucket(name)
        return name

    def pids(self) -> list[int]:
        """Of the server that answers, not of those behind it that hold the data."""
        words = os.fsencode(self.folder / "ceph.conf")
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else [b""]
                if line[0].endswith(b"radosgw") and words in line:
                    found.append(int(entry.name))
        return found

    def kill(self) -> None:
        """Nobody answers any more. What is stored stays: this server holds nothing itself."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        while listens(self.port):
            time.sleep(0.02)

    @contextlib.contextmanager
    def again(self) -> Iterator[None]:
        """It answers again, for the rest of the block."""
        log = self.folder / "log" / f"rgw-{time.monotonic_ns()}.out"
        with process(["radosgw", "-c", str(self.folder / "ceph.conf"), "-n", "client.rgw", "-f"], log) as started:
            wait_for(lambda: listens(self.port), started, log)
            yield

    def admin(self, *arguments: str) -> str:
        """Run radosgw-admin. Returns what it says."""
        done = self._run("radosgw-admin", *arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr[-1000:]}"
        return done.stdout

    def _does(self, program: str, *arguments: str) -> bool:
        return self._run(program, *arguments).returncode == 0

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [program, "-c", str(self.folder / "ceph.conf"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[Gateway]:
    """A fresh one with one user. Skips the test where Ceph isn't installed, unless VEILFARM_REQUIRE_CEPH is 1."""
    needed(("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "setpriv"), PACKAGES, "VEILFARM_REQUIRE_CEPH")
    for name in ("mon", "osd", "run", "log"):
        (folder / name).mkdir()
    ceph = Gateway(folder, free_port())
    fsid, mon_port, conf, log = str(uuid.uuid4()), free_port(), folder / "ceph.conf", folder / "log"
    text = _CONF.format(fsid=fsid, mon_port=mon_port, port=ceph.port, folder=folder, memory=MEMORY)
    conf.write_text(text, encoding="utf-8")
    use = ["-c", str(conf)]
    peers = ["--fsid", fsid, "--addv", "a", f"[v1:127.0.0.1:{mon_port}]"]
    subprocess.run(["monmaptool", "--create", *peers, str(folder / "monmap")], check=True, capture_output=True)
    monitor = ["ceph-mon", *use, "-i", "a"]
    subprocess.run([*monitor, "--mkfs", "--monmap", str(folder / "monmap")], check=True, capture_output=True)
    with contextlib.ExitStack() as stack:
        mon = stack.enter_context(process([*monitor, "-f"], log / "mon.out"))
        wait_for(lambda: listens(mon_port), mon, log / "mon.out")
        osd_id = str(uuid.uuid4())
        wait_for(lambda: ceph._does("ceph", "osd", "new", osd_id), mon, log / "mon.out")  # it listens before it votes
        storage = ["ceph-osd", *use, "-i", "0"]
        subprocess.run([*storage, "--mkfs", "--osd-uuid", osd_id], check=True, capture_output=True)
        place = ["osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h"]
        wait_for(lambda: ceph._does("ceph", *place), mon, log / "mon.out")
        stack.enter_context(process([*storage, "-f"], log / "osd.out"))
        rgw = stack.enter_context(process(["radosgw", *use, "-n", "client.rgw", "-f"], log / "rgw.out"))
        wait_for(lambda: listens(ceph.port), rgw, log / "rgw.out")
        keys = ["--access-key", ACCESS, "--secret-key", SECRET]
        ceph.admin("user", "create", "--uid=vf", "--display-name=vf", *keys)
        yield ceph
