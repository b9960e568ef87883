"""What this room needs of ``ctypes``, from its C half.

``ctypes`` itself defines a type for everything, for other systems and for byte orders, and imports ``struct`` for that: two
milliseconds at every start. The names are those of ``ctypes``, and mean the same.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import (
        CDLL,
        Structure,
        byref,
        c_char_p,
        c_int,
        c_long,
        c_size_t,
        c_uint32,
        c_uint64,
        c_ulong,
        c_ushort,
        get_errno,
        sizeof,
    )
else:
    from _ctypes import (
        FUNCFLAG_CDECL,
        FUNCFLAG_USE_ERRNO,
        CFuncPtr,
        Structure,
        _SimpleCData,
        byref,
        dlopen,
        get_errno,
        sizeof,
    )

    def _define(name, code):
        """Return the type of a C value by its code in the ``struct`` module (z: bytes with a NUL behind them)."""
        return type(_SimpleCData)(name, (_SimpleCData,), {"_type_": code})

    c_ushort, c_int, c_uint32 = _define("c_ushort", "H"), _define("c_int", "i"), _define("c_uint32", "I")
    c_long, c_ulong, c_char_p = _define("c_long", "l"), _define("c_ulong", "L"), _define("c_char_p", "z")
    # Both have the width of a register on every machine that carboy knows.
    c_size_t = c_uint64 = c_ulong

    class _Function(CFuncPtr):
        _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
        _restype_ = c_int

    class CDLL:
        """The functions of a library, as attributes; each keeps its own copy of errno for ``get_errno``."""

        def __init__(self, name, *, use_errno):
            if not use_errno:
                raise ValueError("a library without errno is not provided for")
            self._handle = dlopen(name, 0)

        def __getattr__(self, name):
            function = _Function((name, self))
            setattr(self, name, function)
            return function


__all__ = [
    "CDLL",
    "Structure",
    "byref",
    "c_char_p",
    "c_int",
    "c_long",
    "c_size_t",
    "c_uint32",
    "c_uint64",
    "c_ulong",
    "c_ushort",
    "get_errno",
    "sizeof",
]
