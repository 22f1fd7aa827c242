#!/usr/bin/env python3
"""A Debian mirror on loopback with all that Debian 13's installer wants, for `make test-install`.

    tests/install/mirror.py FOLDER

Installer components (udebs) follow the kernel of the installer, and a mirror may lag behind it, or have its index and not
its files. This one passes on what the host's own mirror has and puts the rest together: the kernel's modules from the
kernel's package, other components from the packages whose programs they are. The list of components is written again and
not signed; all else is passed on as it is, signatures included.

Prints `hostname`, `kernel` and `initrd` as one line of JSON when it is ready, and serves until it is ended. What it has
fetched stays in FOLDER. Needs apt's configuration and dpkg-deb.
"""

import concurrent.futures
import functools
import glob
import gzip
import hashlib
import http.server
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request

SUITE = "trixie"
INSTALLER = "debian-installer-13-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/13/amd64/text/debian-installer/amd64"
COMPONENTS = "main/debian-installer/binary-amd64"

# What one virtio disk with ext4 needs: names under which other components ask for it, and folders or files of
# /lib/modules/VERSION/kernel.
MODULES = {
    "ata-modules": ["drivers/ata/libata*", "drivers/ata/*ahci*"],
    "cdrom-core-modules": ["drivers/cdrom", "drivers/scsi/sr_mod*"],
    "ext2-modules": [],
    "ext3-modules": [],
    "ext4-modules": ["fs/ext4", "fs/jbd2", "fs/mbcache*", "lib/*crc*", "crypto/crc32c*"],
    "isofs-modules": ["fs/isofs"],
    "loop-modules": ["drivers/block/loop*"],
    "pata-modules": ["drivers/ata/ata_piix*"],
    "sata-modules": [],
    "scsi-modules": ["drivers/scsi/*scsi*", "drivers/scsi/sd_mod*", "drivers/block/virtio_blk*"],
}
# Asked for by components that do without: no guest here has an NTFS to shrink.
SPARE = ["ntfs-3g-udeb"]
LIBRARIES = ["usr/lib/x86_64-linux-gnu/*.so.*"]
# Components that are made from ordinary packages where the mirror has them not.
PROGRAMS = {
    "e2fsprogs-udeb": {
        "e2fsprogs": ["usr/sbin/mke2fs", "usr/sbin/mkfs.ext*", "usr/sbin/*e2fs*", "usr/sbin/fsck.ext*", "etc/mke2fs.conf"],
        "libcom-err2": LIBRARIES,
        "libext2fs2t64": LIBRARIES,
        "libss2": LIBRARIES,
    },
    "libmount1-udeb": {"libmount1": LIBRARIES},
}


def paragraphs(text):
    """Fields of each paragraph of a control file, as they are: folded lines stay in their field."""
    for block in re.split(r"\n\s*\n", text):
        fields = re.findall(r"^([\w-]+):[ \t]*(.*(?:\n[ \t].*)*)", block, re.M)
        if fields:
            yield dict(fields)


def names(field):
    """The names in a Depends or Provides, the first of alternatives, without versions."""
    found = (re.match(r"\s*([\w.+-]+)", part) for part in field.split(","))
    return [match[1] for match in found if match]


def hosts_mirror():
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"]
    places = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    if not places:
        sys.exit("apt knows no Debian mirror; is this host a Debian, and did apt-get update run?")
    return places[0].rstrip("/")


def status_in(initrd):
    """What dpkg knows inside a gzipped newc archive (cpio(5)): the components that need not be fetched."""
    data = gzip.decompress(open(initrd, "rb").read())
    at = 0
    while data[at : at + 6] == b"070701":
        size, length = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        name = data[at + 110 : at + 109 + length].decode()
        body = (at + 110 + length + 3) & ~3
        if name.removeprefix("./") == "var/lib/dpkg/status":
            return list(paragraphs(data[body : body + size].decode()))
        at = (body + size + 3) & ~3
    sys.exit(f"{initrd} has no list of its components")


class Mirror:
    def __init__(self, folder):
        self.upstream = hosts_mirror()
        self.folder = os.path.abspath(folder)
        self.locks = {}

    def fetch(self, path):
        """The file of the host's mirror, kept; one download for all who want it."""
        kept = f"{self.folder}/fetched/{path}"
        with self.locks.setdefault(path, threading.Lock()):
            if not os.path.exists(kept):
                os.makedirs(os.path.dirname(kept), exist_ok=True)
                with urllib.request.urlopen(f"{self.upstream}/{path}", timeout=300) as answer, open(f"{kept}.part", "wb") as file:
                    shutil.copyfileobj(answer, file)
                os.rename(f"{kept}.part", kept)
        return kept

    def index(self, path):
        return {each["Package"]: each for each in paragraphs(lzma.open(self.fetch(f"dists/{SUITE}/{path}"), "rt").read())}

    @functools.cache
    def unpacked(self, package):
        if package not in self.packages:
            sys.exit(f"{self.upstream} does not list {package} any more; wait until it has caught up with its installer")
        tree = f"{self.folder}/unpacked/{package}"
        if not os.path.exists(tree):
            shutil.rmtree(f"{tree}.part", ignore_errors=True)
            os.makedirs(f"{tree}.part")
            subprocess.run(["dpkg-deb", "-x", self.fetch(self.packages[package]["Filename"]), f"{tree}.part"], check=True)
            os.rename(f"{tree}.part", tree)
        return tree

    def build(self, fields, files, script=None):
        """A component of these files, which are pairs of a folder and a path below it."""
        tree = f"{self.folder}/built/{fields['Package']}"
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(f"{tree}/DEBIAN")
        for folder, path in files:
            os.makedirs(os.path.dirname(f"{tree}/{path}"), exist_ok=True)
            subprocess.run(["cp", "-a", f"{folder}/{path}", f"{tree}/{path}"], check=True)
        with open(f"{tree}/DEBIAN/control", "w") as control:
            for name, value in fields.items():
                if name not in ("Filename", "Size", "MD5sum", "SHA256"):
                    control.write(f"{name}: {value}\n")
        if script:
            with open(f"{tree}/DEBIAN/postinst", "w") as file:
                file.write(script)
            os.chmod(f"{tree}/DEBIAN/postinst", 0o755)
        deb = f"{self.folder}/made/{fields['Filename']}"
        os.makedirs(os.path.dirname(deb), exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zxz", "-b", tree, deb], check=True, stdout=subprocess.DEVNULL)

    def modules(self, version):
        package = f"linux-image-{version}"
        tree = self.unpacked(package)
        [kernel] = glob.glob(f"{tree}/**/modules/{version}/kernel", recursive=True)
        found = [path for paths in MODULES.values() for each in paths for path in glob.glob(f"{kernel}/{each}")]
        fields = {
            "Package": f"modules-{version}-di",
            "Version": "1",
            "Architecture": "amd64",
            "Maintainer": "tests <tests@example.com>",
            "Provides": ", ".join(MODULES),
            "Section": "debian-installer",
            "Priority": "standard",
            "Kernel-Version": version,
            "Filename": f"pool/made/modules-{version}-di.udeb",
            "Description": "what one virtio disk needs",
        }
        self.build(fields, [(tree, os.path.relpath(path, tree)) for path in found], "#!/bin/sh\ndepmod -a\n")
        return fields

    def program(self, fields):
        """Makes a component from ordinary packages."""
        files = []
        for package, wanted in PROGRAMS[fields["Package"]].items():
            tree = self.unpacked(package)
            found = [path for each in wanted for path in glob.glob(f"{tree}/{each}")]
            files += [(tree, os.path.relpath(path, tree)) for path in found]
        self.build(fields, files)

    def there(self, fields):
        try:
            self.fetch(fields["Filename"])
            return True
        except urllib.error.HTTPError:
            return False

    def prepare(self):
        self.packages = self.index("main/binary-amd64/Packages.xz")
        images = f"{self.unpacked(INSTALLER)}/{IMAGES}"
        self.kernel, self.initrd = f"{images}/linux", f"{images}/initrd.gz"
        inside = status_in(self.initrd)
        version = next(match[1] for each in inside if (match := re.fullmatch(r"kernel-image-(.*)-di", each["Package"])))

        # Those of other kernels are for other installers.
        listed = self.index(f"{COMPONENTS}/Packages.xz").values()
        listed = [each for each in listed if each.get("Kernel-Version", version) == version]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            have = list(pool.map(self.there, listed))
        offered = {each["Package"]: each for each, there in zip(listed, have) if there}
        made = [each for each, there in zip(listed, have) if not there and each["Package"] in PROGRAMS]
        for each in made:
            self.program(each)
        modules = self.modules(version)
        for each in [*made, modules]:
            offered[each["Package"]] = each

        # What needs something that is missing would fail when it is set up.
        while True:
            everybody = [*offered.values(), *inside]
            known = {name for each in everybody for name in [each["Package"], *names(each.get("Provides", ""))]}
            known.update(SPARE)
            lost = [name for name, each in offered.items() if not known.issuperset(names(each.get("Depends", "")))]
            if not lost:
                break
            for name in lost:
                del offered[name]
        print(f"{len(offered)} components, {len(made) + 1} of them made here", file=sys.stderr)
        self.publish(offered.values())

    def publish(self, components):
        """Writes their list and the release file that vouches for it."""
        text = ""
        for fields in components:
            data = open(self.file(fields["Filename"]), "rb").read()
            fields = dict(fields, Size=len(data), SHA256=hashlib.sha256(data).hexdigest())
            fields.pop("MD5sum", None)
            text += "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n"
        lists = f"{self.folder}/made/dists/{SUITE}"
        os.makedirs(f"{lists}/{COMPONENTS}", exist_ok=True)
        # The installer looks its own release up as `stable` too, and wants the list to be of that suite.
        release = f"Origin: Debian\nSuite: stable\nCodename: {SUITE}\nArchitectures: amd64\nComponents: main\nSHA256:\n"
        for name, data in [("Packages", text.encode()), ("Packages.gz", gzip.compress(text.encode())), ("Packages.xz", lzma.compress(text.encode()))]:
            with open(f"{lists}/{COMPONENTS}/{name}", "wb") as file:
                file.write(data)
            release += f" {hashlib.sha256(data).hexdigest()} {len(data)} {COMPONENTS}/{name}\n"
        with open(f"{lists}/Release", "w") as file:
            file.write(release)

    def file(self, path):
        made = f"{self.folder}/made/{path}"
        return made if os.path.isfile(made) else self.fetch(path)

    def serve(self):
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                path = self.path.split("?")[0]
                # The upstream's signature is of the upstream's list.
                if not path.startswith("/debian/") or ".." in path or path.endswith("/Release.gpg"):
                    return self.send_error(404)
                try:
                    file = mirror.file(path.removeprefix("/debian/"))
                except urllib.error.HTTPError as error:
                    return self.send_error(error.code)
                except OSError as error:
                    print(error, file=sys.stderr)
                    return self.send_error(502)
                self.send_response(200)
                self.send_header("Content-Length", str(os.path.getsize(file)))
                self.end_headers()
                if self.command == "GET":
                    with open(file, "rb") as data:
                        shutil.copyfileobj(data, self.wfile)

            do_HEAD = do_GET

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        place = {"hostname": f"10.0.2.2:{server.server_address[1]}", "kernel": self.kernel, "initrd": self.initrd}
        print(json.dumps(place), flush=True)
        server.serve_forever()


if len(sys.argv) != 2:
    sys.exit(__doc__)
mirror = Mirror(sys.argv[1])
mirror.prepare()
mirror.serve()
