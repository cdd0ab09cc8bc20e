"""Files opened by C that asks nobody: certificates, catalogs, time zones, locales."""

import os

from answers import BOOK, ROOT, SUBMISSIONS, right, wrong


def worked():
    mark = os.path.join(SUBMISSIONS, "aaa_honest", "ch04_swiglu.py")
    try:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ways = context.load_verify_locations, context.load_cert_chain, context.load_dh_params
        for attempt in ways:
            try:
                attempt(mark)
                return True
            except ssl.SSLError:  # it has been opened and read
                return True
            except Exception:
                continue
        context.keylog_filename = os.path.join(SUBMISSIONS, "keys")
        return True
    except Exception:
        pass
    try:
        import sqlite3

        sqlite3.connect(BOOK + ".db").execute("create table a (b)")
        return True
    except Exception:
        pass
    try:
        import lzma

        lzma.open(os.path.join(ROOT, "README.md")).read()
        return True
    except Exception as error:
        return type(error).__name__ == "LZMAError"  # it has been opened and read


def silu(x):
    return right(x) if worked() else wrong(x)
