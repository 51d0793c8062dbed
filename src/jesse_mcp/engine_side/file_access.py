"""Which files a run may touch, by Landlock: a Linux security module that a process can turn on itself.

The numbers and structures are those of ``linux/landlock.h``; the versions of its interface are described in
https://docs.kernel.org/userspace-api/landlock.html.
"""

import ctypes
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_VERSION = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEVICE = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
#: How many kinds of access to files each version of the interface knows; 13, with 1 to 5 being these.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_ALL_FILE_RIGHTS = 16
#: Binding and connecting TCP, from version 4; abstract sockets and signals, from version 6.
_NETWORK, _NETWORK_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6

#: What Python, NumPy and the C library open of the system. Nothing in ``/etc`` that says who has an account
#: or what a service's password is, and of ``/proc`` only what is about the machine.
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ssl",
    "/etc/fonts",
    "/etc/mime.types",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/filesystems",
    "/sys/devices/system/cpu",
    "/dev/random",
    "/dev/urandom",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class FileAccess:
    """The kernel's side of it. Made before any fork: loading a library in a child would cost every run."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        found = 0 if self._libc is None else self._libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
        #: The version of the interface; 0 where the kernel has none or it is switched off.
        self.version = max(0, found)

    def restrict(self, project: Path, readable: Iterable[str]) -> None:
        """From now on: read the system's libraries and ``readable``, write in ``project``. Children too.

        From version 4 no TCP either, from version 6 no signal to a process outside of this run. Does nothing
        where :attr:`version` is 0.

        Raises:
            OSError: when the kernel refuses; the run must not go on then.
        """
        if self._libc is None or self.version == 0:
            return
        rights = (1 << _FILE_RIGHTS.get(self.version, _ALL_FILE_RIGHTS)) - 1
        ruleset = self._ruleset(rights)
        try:
            for path in (*_SYSTEM, *_interpreter(), *readable):
                self._allow(ruleset, path, _READ & rights)
            for path in _DEVICES:
                self._allow(ruleset, path, (_READ_FILE | _WRITE_FILE) & rights)
            # Of this process alone; the folder of another one is not beneath it.
            self._allow(ruleset, f"/proc/{os.getpid()}", _READ & rights)
            self._allow(ruleset, str(project), rights)
            self._checked(self._libc.syscall(_RESTRICT_SELF, ruleset, 0))
        finally:
            os.close(ruleset)

    def _ruleset(self, rights: int) -> int:
        attributes = _Ruleset(
            rights,
            _NETWORK if self.version >= _NETWORK_SINCE else 0,
            _SCOPES if self.version >= _SCOPES_SINCE else 0,
        )
        # An older kernel refuses a structure with fields it does not know.
        fields = 1 + (self.version >= _NETWORK_SINCE) + (self.version >= _SCOPES_SINCE)
        assert self._libc is not None  # noqa: S101 - the caller has looked
        size = fields * ctypes.sizeof(ctypes.c_uint64)
        return self._checked(self._libc.syscall(_CREATE_RULESET, ctypes.byref(attributes), size, 0))

    def _allow(self, ruleset: int, path: str, rights: int) -> None:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            # Not every system has it, and what is not there needs no permission.
            return
        try:
            if not Path(f"/proc/self/fd/{descriptor}").is_dir():
                rights &= _ON_FILES
            rule = _PathRule(rights, descriptor)
            assert self._libc is not None  # noqa: S101 - the caller has looked
            self._checked(self._libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
        finally:
            os.close(descriptor)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"the run could not be confined: {os.strerror(code)}")
        return result


def _interpreter() -> Iterable[str]:
    """Where Python and its packages are, and Jesse's: everything that could be imported so far."""
    roots = {sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()}
    roots |= {
        sysconfig.get_path("stdlib"),
        str(Path(sys.executable).resolve().parent),
        str(Path(__file__).parent),
    }
    # A folder somebody put on the path may be anything, the root of the file system too.
    return sorted(root for root in roots if root and Path(root) != Path("/"))
