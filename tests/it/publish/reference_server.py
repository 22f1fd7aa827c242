"""The reference client's own test server on a port of 127.0.0.1, keeping files below a folder: PORT FOLDER."""
import os
import sys

from slapos.libnetworkcachetests import NCHandler, Server


class Lasting(Server):
    """The server ends at the first request that fails; a story has more of them."""

    def handle_error(self, request, client_address):
        pass


port, folder = int(sys.argv[1]), sys.argv[2]
os.makedirs(folder, exist_ok=True)
Lasting(folder, ("127.0.0.1", port), NCHandler).serve_forever()
