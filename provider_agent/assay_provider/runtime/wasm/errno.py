"""Errors of WASI preview 1 that a module can meet here. Source: the specification's witx files."""

from enum import IntEnum


class Errno(IntEnum):
    """The values are the wire's."""

    SUCCESS = 0
    BADF = 8
    EXIST = 20
    FAULT = 21
    FBIG = 22
    ILSEQ = 25
    INVAL = 28
    IO = 29
    ISDIR = 31
    MFILE = 33
    NAMETOOLONG = 37
    NOENT = 44
    NOSPC = 51
    NOSYS = 52
    NOTDIR = 54
    NOTEMPTY = 55
    NOTSOCK = 57
    NOTSUP = 58
    PERM = 63
    ROFS = 69
    SPIPE = 70
    XDEV = 75
    NOTCAPABLE = 76


class WasiError(Exception):
    """What a module did cannot be done; it is told which error it was."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno.name)
        self.errno = errno
