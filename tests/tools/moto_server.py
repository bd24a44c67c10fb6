"""The S3 server of moto. It looks for an object and writes it in two steps; a lock makes one of them."""

import functools
import sys
import threading

from moto.s3.responses import S3Response
from moto.server import main

LOCK = threading.Lock()


def one_at_a_time(handler):
    @functools.wraps(handler)
    def handle(self):
        with LOCK:
            return handler(self)

    return handle


S3Response.put_object = one_at_a_time(S3Response.put_object)
sys.exit(main())
