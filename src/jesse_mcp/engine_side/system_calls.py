"""What a run may ask the kernel for: no socket, no look into other processes, no privileges.

By a seccomp filter (``linux/seccomp.h``, ``linux/filter.h``) and by giving up every capability; what a run
may do with files is the matter of ``file_access``.
"""

import ctypes
import errno
import os
import platform
import sys

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

#: Number of the architecture, and of the calls that are refused, by what the machine calls itself.
_MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "capset": 126,
            "socket": 41,
            "ptrace": 101,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "unshare": 272,
            "perf_event_open": 298,
            "setns": 308,
            "process_vm_readv": 310,
            "process_vm_writev": 311,
            "bpf": 321,
            "userfaultfd": 323,
            "io_uring_setup": 425,
            "pidfd_getfd": 438,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "capset": 91,
            "socket": 198,
            "ptrace": 117,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "unshare": 97,
            "perf_event_open": 241,
            "setns": 268,
            "process_vm_readv": 270,
            "process_vm_writev": 271,
            "bpf": 280,
            "userfaultfd": 282,
            "io_uring_setup": 425,
            "pidfd_getfd": 438,
        },
    ),
}
#: On x86 another table of calls is reached by this bit.
_X32 = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
_NUMBER, _ARCHITECTURE = 0, 4


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class SystemCalls:
    """Made before any fork: loading a library in a child would cost every run."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        known = _MACHINES.get(platform.machine()) if self._libc is not None else None
        self._program = None if known is None else _program(*known)

    @property
    def filtered(self) -> bool:
        """Whether calls can be refused on this machine."""
        return self._program is not None

    def restrict(self) -> None:
        """From now on, and for every child. Does nothing where there is no Linux.

        Raises:
            OSError: when the kernel refuses; the run must not go on then.
        """
        if self._libc is None:
            return
        self._give_up_capabilities()
        self._checked(self._libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        if self._program is not None:
            program = ctypes.byref(self._program)
            self._checked(self._libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0))

    def _give_up_capabilities(self) -> None:
        """Root that has none is a user like any other, except that it owns root's files."""
        assert self._libc is not None  # noqa: S101 - the caller has looked
        header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
        nothing = (ctypes.c_uint32 * 6)()
        self._checked(self._libc.capset(ctypes.byref(header), nothing))

    @staticmethod
    def _checked(result: int) -> None:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"the run could not be confined: {os.strerror(code)}")


def _program(architecture: int, refused: dict[str, int]) -> _Program:
    """Kill what speaks the tables of another architecture, refuse these calls, allow the rest."""
    numbers = sorted(refused.values())
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, len(numbers) + 1, 0, _X32),
    ]
    # Each looks over those that are left, and over the allowing return, to the refusing one.
    steps += [(_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    return _Program(len(steps), instructions)
