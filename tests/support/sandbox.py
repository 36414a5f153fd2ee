"""The sandbox of `config/tidegate.service`, as far as it can be had without systemd: `sandbox.py COMMAND …`.

Of the unit's keys: SystemCallFilter and SystemCallErrorNumber, by the groups that systemd itself knows;
RestrictAddressFamilies, RestrictNamespaces and MemoryDenyWriteExecute, which systemd makes of the same filters. Mounts
and capabilities are for `in_sandbox`. Takes libseccomp, which comes with systemd.
"""

import ctypes
import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "config" / "tidegate.service"

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
UNKNOWN = -1
EQUAL, MASKED_EQUAL = 4, 7

WRITE, EXECUTE = 2, 4
NAMESPACES = 0x7E020080
"""Every CLONE_NEW flag."""
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}


class Argument(ctypes.Structure):
    """`struct scmp_arg_cmp`: what an argument of a call must be."""

    _fields_ = (
        ("place", ctypes.c_uint),
        ("how", ctypes.c_int),
        ("one", ctypes.c_uint64),
        ("other", ctypes.c_uint64),
    )


def values(key: str) -> list[str]:
    """Return what the unit says under this key, line by line."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


@cache
def group(name: str) -> frozenset[str]:
    """Return the calls of a group of systemd's, those of the groups in it included."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    words = [line.strip() for line in said.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return frozenset(call for word in words if word for call in (group(word) if word.startswith("@") else [word]))


def allowed_calls() -> set[str]:
    """Return what SystemCallFilter leaves."""
    calls: set[str] = set(group("@default"))
    for line in values("SystemCallFilter"):
        named = {
            call for word in line.removeprefix("~").split() for call in (group(word) if word[0] == "@" else {word})
        }
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def conditions(call: str) -> Iterator[list[Argument]]:
    """Yield what the arguments of a call may be, each a list that all have to be true; none if anything may be."""
    if call == "socket":
        yield from ([Argument(0, EQUAL, FAMILIES[name])] for name in values("RestrictAddressFamilies")[0].split())
    if call == "clone":
        yield [Argument(0, MASKED_EQUAL, NAMESPACES, 0)]
    if call == "mmap":
        yield from ([Argument(2, MASKED_EQUAL, bit, 0)] for bit in (WRITE, EXECUTE))
    if call in ("mprotect", "pkey_mprotect"):
        yield [Argument(2, MASKED_EQUAL, EXECUTE, 0)]


def enter() -> None:
    """Apply the filters to this process and what it executes. Raises OSError if libseccomp does not."""
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(REFUSE))
    for call in allowed_calls() - {"unshare", "setns", "clone3"}:
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        for each in list(conditions(call)) or [[]]:
            array = (Argument * max(1, len(each)))(*each)
            if number != UNKNOWN:
                seccomp.seccomp_rule_add_array(context, ALLOW, number, len(each), array)
    # As systemd does: programs then take clone, whose flags can be seen.
    clone3 = seccomp.seccomp_syscall_resolve_name(b"clone3")
    seccomp.seccomp_rule_add_array(context, 0x00050000 | errno.ENOSYS, clone3, 0, None)
    if code := seccomp.seccomp_load(context):
        raise OSError(-code, os.strerror(-code))


def in_sandbox(state: Path) -> list[str]:
    """Return the words before a command: no capability, nothing writable but `state`, and the filters. Takes root."""
    mounts = f"mount --bind '{state}' '{state}'; mount -o remount,bind,ro /"
    rights = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return ["unshare", "--mount", "sh", "-ec", f'{mounts}\nexec "$@"', "sh", *rights, sys.executable, "-P", __file__]


if __name__ == "__main__":
    enter()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - that is what it is for
