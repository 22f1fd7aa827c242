//! The description itself. To add a key, add it here and to its reader in `manifest/read`: a test fails until both know
//! it, and another until `make docs` was run.

use super::Kind::{Choice, Either, List, Named, OneOrMore, Table as In, Text, Variable, Whole, Yes};
use super::{Form, Key, Kind, Table};

const ANY: Form = form("Text", "a text with something in it", r"[^\s]", "text");
const FREE: Form = form("AnyText", "a text", "", "text");
const VARIABLE: Form = form(
    "Variable",
    "the name of a variable: letters, digits and `_`",
    r"^[A-Za-z_][A-Za-z0-9_]*$",
    "keymap",
);
const SIZE: Form = form(
    "Size",
    "a size",
    r"^[0-9]+(\.[0-9]{1,6})?(B|[KkMmGgTt]|[KMGT]iB|[kmgt]iB)?$",
    "20G",
);
const TIME: Form = form("Duration", "a duration", r"^([0-9]+[smh])+$", "15m");
const URL: Form = form(
    "Url",
    "an http:// or https:// URL",
    r"^https?://[^/\s][^\s]*$",
    "https://mirror.example/debian",
);
const SHA256: Form = form(
    "Sha256",
    "the 64 hexadecimal digits of a SHA-256",
    r"^(sha256:)?[0-9a-fA-F]{64}$",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
);
const SHA512: Form = form(
    "Sha512",
    "the 128 hexadecimal digits of a SHA-512",
    r"^(sha512:)?[0-9a-fA-F]{128}$",
    "ee26b0dd4af7e749aa1a8ee3c10ae9923f618980772e473f8819a5d4940e0db27ac185f8a0e1d5f84f88bc887fd67b143732c304cc5fa9ad8e6f57f50028a8ff",
);
const MD5: Form = form(
    "Md5",
    "the 32 hexadecimal digits of an MD5",
    r"^(md5:)?[0-9a-fA-F]{32}$",
    "098f6bcd4621d373cade4e832627b4f6",
);
const MODE: Form = form(
    "Mode",
    "a file mode of three or four octal digits",
    r"^[0-7]{3,4}$",
    "0644",
);
const OWNER: Form = form(
    "Owner",
    "`user` or `user:group`",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?$",
    "root:root",
);
const GUEST_PATH: Form = form("GuestPath", "an absolute path in the guest", r"^/", "/etc/motd");
const NAME: Form = form(
    "Name",
    "a name of letters, digits, `.`, `_` and `-`",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    "base",
);
const BUCKET: Form = form(
    "Bucket",
    "the name of a bucket: 3 to 63 small letters, digits, dots and hyphens",
    r"^[a-z0-9.-]{3,63}$",
    "images",
);

/// All forms that have a name.
pub(super) const FORMS: &[&Form] = &[
    &ANY,
    &FREE,
    &VARIABLE,
    &SIZE,
    &TIME,
    &URL,
    &SHA256,
    &SHA512,
    &MD5,
    &MODE,
    &OWNER,
    &GUEST_PATH,
    &NAME,
    &BUCKET,
];

const TEXT: Kind = Text(&ANY);
const SETS: Kind = Choice(&["standard", "vm-bootstrap"]);
const FAMILIES: Kind = Choice(&["debian", "ubuntu", "rhel", "alpine"]);
const SECRET: Kind = In("secret");
const PLACES: (bool, &[&str]) = (true, &["path", "url", "urls"]);
const PROOFS: (bool, &[&str]) = (false, &["sha256", "sha512", "md5", "checksums"]);
const STEPS: &[&str] = &["run", "inline", "copy", "reboot", "install", "ansible"];
const SCRIPTS: &[&str] = &["run", "inline"];
const TRIED: &[&str] = &["run", "inline", "copy", "install", "ansible"];
const CHECKS: &[&str] = &[
    "set",
    "boots_within",
    "login_prompt",
    "network",
    "port",
    "root_size",
    "no_failed_units",
    "identity",
    "no_traces",
    "agent",
    "command",
];
/// All but sets, which have no name of their own.
const NAMED_CHECKS: &[&str] = &[
    "boots_within",
    "login_prompt",
    "network",
    "port",
    "root_size",
    "no_failed_units",
    "identity",
    "no_traces",
    "agent",
    "command",
];

const fn form(name: &'static str, what: &'static str, pattern: &'static str, example: &'static str) -> Form {
    Form {
        name,
        what,
        pattern,
        example,
    }
}

const fn key(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        doc,
        default: None,
        example,
        needed: false,
        beside: &[],
    }
}

impl Key {
    const fn needed(self) -> Self {
        Self { needed: true, ..self }
    }

    const fn default(self, default: &'static str) -> Self {
        Self {
            default: Some(default),
            ..self
        }
    }

    const fn beside(self, beside: &'static [&'static str]) -> Self {
        Self { beside, ..self }
    }
}

const fn plain(id: &'static str, doc: &'static str, keys: &'static [Key]) -> Table {
    Table {
        id,
        doc,
        keys,
        one_of: &[],
        others: None,
    }
}

/// Where bytes are, and what tells the right ones. Tables that are media and more have these keys first.
macro_rules! with_medium {
    ($($key:expr),* $(,)?) => {
        &[
            key("path", TEXT, "\"base.qcow2\"", "a file, relative to the manifest"),
            key("url", Text(&URL), "\"https://cloud.example/base.qcow2\"", "where the file is; what tells its bytes stands beside it"),
            key("urls", List(&Text(&URL)), "[\"https://cloud.example/base.qcow2\"]", "mirrors of the same bytes, in order"),
            key("sha256", Text(&SHA256), "\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"", "the file's digest"),
            key("sha512", Text(&SHA512), "\"<128 hex digits>\"", "the file's digest"),
            key("md5", Text(&MD5), "\"098f6bcd4621d373cade4e832627b4f6\"", "the file's digest, where its publisher gives no better one"),
            key("checksums", TEXT, "\"https://cloud.example/SHA256SUMS\"", "URL or path of the publisher's checksum file, in which the first URL is looked up by its name and the folders before it").beside(&["url", "urls"]),
            key("signature", TEXT, "\"https://cloud.example/SHA256SUMS.gpg\"", "URL or path of the detached signature of the checksum file").beside(&["checksums"]),
            key("keyring", TEXT, "\"publisher.gpg\"", "the publisher's keys (binary), by which the checksum file must be signed").beside(&["checksums"]),
            $($key),*
        ]
    };
}

/// How an installer is talked to; for `iso` and `netboot` alike.
macro_rules! installer_keys {
    ($first:ident! { $($key:expr),* $(,)? }) => {
        $first![
            $($key,)*
            key("mirror", Text(&URL), "\"https://mirror.example/debian\"", "where packages come from").default("for Debian the mirror that this host's own apt uses, for Ubuntu its archive, for Anaconda the medium"),
            key("suite", TEXT, "\"trixie\"", "suite on the mirror"),
            key("password", SECRET, "{ env = \"PASSWORD\" }", "password of the account `username` of the answers, or its hash as in crypt(5)").default("none"),
            key("arguments", TEXT, "\"console=ttyS1\"", "further kernel arguments for the installer (a template)"),
            key("answers_by", Choice(&["http", "initrd", "seed"]), "\"http\"", "how the answers get there").default("the installer's usual way"),
            key("boot_command", OneOrMore(&TEXT), "[\"<waitFor 'boot:'>auto url={{ host.url }}<enter>\"]", "keys to type into the medium's boot loader, which then starts instead of the kernel (`iso` only); answers by `http`, or a seed"),
        ]
    };
}

macro_rules! list {
    ($($key:expr),* $(,)?) => { &[$($key),*] };
}

/// What places to publish to have in common, with their own keys.
macro_rules! target {
    ($kind:literal, $($key:expr),* $(,)?) => {
        &[
            key("to", Choice(&[$kind]), concat!("\"", $kind, "\""), "what kind of place it is; a table with the name of a kind needs no `to`"),
            key("verify", Choice(&["full", "head"]), "\"full\"", "`\"full\"` reads every byte back and compares its SHA-512, `\"head\"` only asks for the size").default("\"full\""),
            $($key),*
        ]
    };
}

const PUBLIC_URL: Key = key(
    "public_url",
    Text(&URL),
    "\"https://images.example\"",
    "base of the URLs that the world uses, where they are other ones than those we write to; `check-urls` then reads those, without credentials",
);

/// All tables; the manifest itself first.
pub const TABLES: &[Table] = &[
    plain(
        "manifest",
        "What to build",
        &[
            key("pipeline", In("pipeline"), "{ name = \"house\" }", "what it is called, and where images go"),
            key("resources", In("resources"), "{ memory = \"4G\" }", "what a run may use of the host").default("what the host has"),
            key("vars", Named(&VARIABLE, &Variable), "{ keymap = \"fr\" }", "texts, numbers, booleans, dates and lists of those; every template sees them"),
            key("distros", Named(&NAME, &In("distro")), "{ debian12 = { … } }", "what is installed, by name").needed(),
            key("flavors", Named(&NAME, &In("flavor")), "{ base = { steps = [] } }", "what is done inside, by name"),
            key("images", List(&In("image")), "[{ distro = \"debian12\", flavor = \"base\", sizes = [\"20G\"] }]", "what is wanted").needed(),
            key("checks", List(&In("check")), "[{ set = \"standard\" }]", "what must hold of booted images, for all of them or some"),
            key("publish", In("publish"), "{ compress = \"zstd\" }", "in which form images appear, and where they are published"),
        ],
    ),
    plain(
        "pipeline",
        "What it is called, and where images go",
        &[
            key("name", Text(&NAME), "\"house\"", "what runs and logs are called").default("the file's name without its ending"),
            key("output", TEXT, "\"out\"", "folder of the images, relative to where the program is started").default("\"out\""),
        ],
    ),
    plain(
        "resources",
        "What a run may use of the host",
        &[
            key("memory", Text(&SIZE), "\"4G\"", "memory for machines; never more than the host has available").default("what the host has, less a reserve"),
            key("cpus", Whole(1, 512), "4", "virtual CPUs at once").default("what the host has"),
            key("scratch", Text(&SIZE), "\"20G\"", "disk space for scratch files; what nodes take is an upper bound, so it may be more than there is").default("what the host has, less a reserve"),
            key("jobs", Whole(1, 1024), "2", "nodes at once").default("as many as there is room for"),
        ],
    ),
    plain(
        "distro",
        "What is installed, once",
        &[
            key("family", FAMILIES, "\"debian\"", "whose conventions the guest follows; `rhel` is CentOS, RHEL and its rebuilds, Fedora").needed(),
            key("version", TEXT, "\"12\"", "as its publisher numbers it").needed(),
            key("source", In("source"), "{ bootstrap = { suite = \"bookworm\" } }", "where it comes from").needed(),
            key("disk", Text(&SIZE), "\"2G\"", "size it is installed at; no image of it can be smaller").default("2G for `bootstrap`, the size of a disk image, what an installer needs"),
            key("memory", Text(&SIZE), "\"1G\"", "memory of its machines").default("\"1G\", or what an installer needs"),
            key("cpus", Whole(1, 512), "2", "virtual CPUs of its machines").default("2"),
            key("answers", TEXT, "\"setup.sh.j2\"", "template of what its system is configured with: a setup script for `bootstrap`; a preseed, a kickstart or an autoinstall for installers").default("a built-in one"),
            key("vars", Named(&VARIABLE, &Variable), "{ keymap = \"us\" }", "values over those of `[vars]`"),
        ],
    ),
    Table {
        id: "source",
        doc: "Where a distro comes from",
        keys: &[
            key("bootstrap", In("bootstrap"), "{ suite = \"bookworm\" }", "packages straight into a root file system, for debian and ubuntu"),
            key("disk", In("disk"), "{ path = \"base.qcow2\" }", "an existing image"),
            key("iso", In("iso"), "{ path = \"netinst.iso\" }", "the distro's own installer on a CD or DVD image: its kernel is started directly, the image stays attached"),
            key("netboot", In("netboot"), "{ kernel = { path = \"linux\" }, initrd = { path = \"initrd.gz\" } }", "the same installer without an image"),
        ],
        one_of: &[(true, &["bootstrap", "disk", "iso", "netboot"])],
        others: None,
    },
    plain(
        "bootstrap",
        "Packages straight into a root file system",
        &[
            key("suite", TEXT, "\"bookworm\"", "suite on the mirror").needed(),
            key("mirror", Text(&URL), "\"https://mirror.example/debian\"", "where packages come from").default("the host's own, where the host is of the family"),
            key("components", List(&TEXT), "[\"main\", \"contrib\"]", "parts of the archive").default("[\"main\"]"),
            key("kernel", TEXT, "\"linux-image-amd64\"", "package of the kernel").default("the family's usual one"),
            key("packages", List(&TEXT), "[\"sudo\"]", "further packages").default("[]"),
            key("keyring", TEXT, "\"keyring.gpg\"", "keys that the archive must be signed by").default("the host's"),
        ],
    ),
    Table {
        id: "disk",
        doc: "An existing image",
        keys: with_medium![
            key("access", Either(&[Choice(&["cloud-init"]), In("access")]), "{ key = \"id_ed25519\" }", "how the build gets in: `\"cloud-init\"`, or `{ key = … }` for an image that knows a key").default("\"cloud-init\""),
            key("user", TEXT, "\"debian\"", "who to log in as").default("the family's usual cloud user, `root` with a key"),
        ],
        one_of: &[PLACES, PROOFS],
        others: None,
    },
    plain(
        "access",
        "A key that an image knows",
        &[key("key", TEXT, "\"id_ed25519\"", "the private half, as a file").needed()],
    ),
    Table {
        id: "iso",
        doc: "An installer on a CD or DVD image",
        keys: installer_keys!(with_medium! {}),
        one_of: &[PLACES, PROOFS],
        others: None,
    },
    plain(
        "netboot",
        "An installer without an image",
        installer_keys!(list! {
            key("kernel", In("medium"), "{ path = \"linux\" }", "its kernel").needed(),
            key("initrd", In("medium"), "{ path = \"initrd.gz\" }", "its initial RAM disk").needed(),
        }),
    ),
    Table {
        id: "medium",
        doc: "A file, here or elsewhere",
        keys: with_medium![],
        one_of: &[PLACES, PROOFS],
        others: None,
    },
    plain(
        "flavor",
        "What is done inside",
        &[
            key("extends", TEXT, "\"base\"", "another flavor, whose steps and checks come first"),
            key("steps", List(&In("step")), "[{ run = \"guest/update.sh\" }]", "what is done, in order"),
            key("checks", List(&SETS), "[\"standard\"]", "sets of checks that its images must pass"),
        ],
    ),
    Table {
        id: "step",
        doc: "One thing that is done inside",
        keys: &[
            key("run", TEXT, "\"guest/update.sh\"", "a script"),
            key("inline", TEXT, "\"echo hello > /etc/motd\"", "a script, written here"),
            key("copy", TEXT, "\"files/motd\"", "a file, or the contents of a folder"),
            key("reboot", Yes, "true", "`true`: the guest starts anew"),
            key("install", Choice(&["vm-bootstrap"]), "\"vm-bootstrap\"", "the boot-time agent"),
            key("ansible", TEXT, "\"site.yml\"", "a playbook; everything in its folder counts as its input"),
            key("env", Named(&VARIABLE, &Either(&[Text(&FREE), SECRET])), "{ PACKAGES = \"wget {{ editor }}\" }", "environment of the script: templates, or secrets").beside(SCRIPTS),
            key("interpreter", TEXT, "\"bash\"", "what runs it").default("the script's `#!`").beside(SCRIPTS),
            key("exit_codes", List(&Whole(0, 255)), "[0, 3]", "codes that mean success").default("[0]").beside(SCRIPTS),
            key("to", Text(&GUEST_PATH), "\"/etc/motd\"", "where the copy goes; must be there with `copy`").beside(&["copy"]),
            key("mode", Text(&MODE), "\"0644\"", "mode of the copy; of a folder: of the files in it").default("as it is here").beside(&["copy"]),
            key("owner", Text(&OWNER), "\"root:root\"", "owner of the copy; folders that the guest has keep theirs").default("\"root:root\"").beside(&["copy"]),
            key("args", List(&TEXT), "[\"--diff\"]", "further arguments of `ansible-playbook`").default("[]").beside(&["ansible"]),
            key("name", TEXT, "\"upgrade\"", "what reports call it"),
            key("timeout", Text(&TIME), "\"10m\"", "longest time for one attempt").default("\"30m\"").beside(TRIED),
            key("retries", Whole(0, 100), "1", "how often it is tried again").default("0").beside(TRIED),
        ],
        one_of: &[(true, STEPS)],
        others: None,
    },
    plain(
        "image",
        "What is wanted: every size of every flavor of every distro that it names",
        &[
            key("distro", OneOrMore(&TEXT), "[\"debian12\", \"noble\"]", "one or several of `[distros]`").needed(),
            key("flavor", OneOrMore(&TEXT), "\"full\"", "one or several of `[flavors]`").needed(),
            key("sizes", OneOrMore(&Text(&SIZE)), "[\"3G\", \"20G\"]", "sizes of the disks").needed(),
            key("id", TEXT, "\"{{ distro }}-{{ size }}\"", "what each is called (a template)").default("\"{{ distro }}-{{ size }}-{{ flavor }}\""),
            key("checks", List(&SETS), "[\"standard\"]", "sets of checks that they must pass"),
        ],
    ),
    Table {
        id: "check",
        doc: "What must hold of booted images",
        keys: &[
            key("set", SETS, "\"standard\"", "all checks of a set"),
            key("boots_within", Text(&TIME), "\"5m\"", "a first sign of life (a login prompt, a request, a greeting of sshd) within this time; without KVM four times as long"),
            key("login_prompt", Yes, "true", "`login:` on the serial console or on the screen"),
            key("network", Yes, "true", "the first network card gets its address by DHCP"),
            key("port", Whole(1, 65_535), "22", "the port is open through the NAT; on 22 sshd greets"),
            key("root_size", Yes, "true", "disk, last partition and root file system are as large as the image"),
            key("no_failed_units", Yes, "true", "no unit of systemd (no service of OpenRC) has failed"),
            key("identity", Yes, "true", "two clones have machine ids, SSH host keys, and private keys below /etc and /var/lib of their own (a second boot)"),
            key("no_traces", Yes, "true", "in no file is the build key left; no setting of the build, no address of the build host or of its proxy"),
            key("agent", Yes, "true", "the boot-time agent fetches its script, runs it once as root, and stops for good"),
            key("command", TEXT, "\"systemctl is-active nginx\"", "the command, run by root's `/bin/sh` in the guest, does as the keys that go with it say"),
            key("exit_code", Whole(0, 255), "0", "its exit code").default("0").beside(&["command"]),
            key("output", TEXT, "\"active\"", "a text that its output has").beside(&["command"]),
            key("matches", TEXT, "\"^OpenSSH_[0-9]+\"", "a [regular expression](https://docs.rs/regex) for its output").beside(&["command"]),
            key("timeout", Text(&TIME), "\"1m\"", "longest time for it").default("\"1m\"").beside(&["command"]),
            key("name", TEXT, "\"web server\"", "what reports call it; a check with the name of one in a set takes that one's place").default("the key's").beside(NAMED_CHECKS),
            key("images", OneOrMore(&TEXT), "\"debian12-*\"", "which images it is for: ids or globs").default("all"),
            key("flavors", OneOrMore(&TEXT), "\"web\"", "which flavors it is for").default("all"),
            key("distros", OneOrMore(&TEXT), "\"debian12\"", "which distros it is for").default("all"),
        ],
        one_of: &[(true, CHECKS)],
        others: None,
    },
    Table {
        id: "publish",
        doc: "In which form images appear, and where they are published",
        keys: &[
            key("format", Choice(&["qcow2", "raw"]), "\"qcow2\"", "format of the disk").default("\"qcow2\""),
            key("compress", Choice(&["gzip", "zstd", "xz", "none"]), "\"zstd\"", "how the file is compressed").default("\"gzip\""),
            key("level", Whole(0, 19), "6", "level of the compression: 1 to 9 for gzip, 1 to 19 for zstd, 0 to 9 for xz").default("the compressor's usual one"),
            key("checksums", List(&Choice(&["sha512", "sha256", "md5"])), "[\"sha512\"]", "checksum files beside the images").default("[\"sha512\", \"md5\"]"),
            key("file", TEXT, "\"{{ id }}.{{ format }}{{ suffix }}\"", "path of each image below the output folder (a template)").default("\"{{ id }}/{{ id }}.{{ format }}{{ suffix }}\""),
        ],
        one_of: &[],
        others: Some((&NAME, In("target"))),
    },
    plain(
        "target_shacache",
        "A shacache with its shadir",
        target![
            "shacache",
            key("config", TEXT, "\"/etc/opt/shacache/shacache.cfg\"", "its configuration, as `networkcache-upload` reads it").default("\"/etc/opt/shacache/shacache.cfg\""),
            key("key", TEXT, "\"packer-images\"", "key of the shadir that images are listed under").default("\"packer-images\""),
            key("metadata", Named(&ANY, &Variable), "{ title = \"{{ id }}\", version = \"{{ version }}\" }", "what it is told about an image, in this order; what is written replaces the default as a whole (texts are templates)"),
        ],
    ),
    plain(
        "target_directory",
        "A folder, perhaps a mounted share",
        target![
            "directory",
            key("path", TEXT, "\"/srv/images\"", "a folder that exists").needed(),
            PUBLIC_URL,
        ],
    ),
    Table {
        id: "target_http",
        doc: "A server that takes files by PUT, as WebDAV servers do",
        keys: target![
            "http",
            key("url", Text(&URL), "\"https://images.example/upload\"", "files go below it").needed(),
            key("user", TEXT, "\"builder\"", "who to be there").beside(&["password"]),
            key("password", SECRET, "{ env = \"IMAGES_PASSWORD\" }", "the user's").beside(&["user"]),
            key("token", SECRET, "{ env = \"IMAGES_TOKEN\" }", "a bearer token, instead of user and password"),
            PUBLIC_URL,
        ],
        one_of: &[(false, &["password", "token"])],
        others: None,
    },
    plain(
        "target_s3",
        "An object store that speaks S3",
        target![
            "s3",
            key("endpoint", Text(&URL), "\"https://s3.eu-west-1.amazonaws.com\"", "URL of the service").needed(),
            key("bucket", Text(&BUCKET), "\"images\"", "which bucket").needed(),
            key("prefix", TEXT, "\"nightly\"", "what the names of all objects begin with").default("nothing"),
            key("region", TEXT, "\"eu-west-1\"", "where it is").default("\"us-east-1\""),
            key("access_key", SECRET, "{ env = \"ACCESS_KEY\" }", "who to be there").default("{ env = \"AWS_ACCESS_KEY_ID\" }"),
            key("secret_key", SECRET, "{ env = \"SECRET_KEY\" }", "the proof of it").default("{ env = \"AWS_SECRET_ACCESS_KEY\" }"),
            PUBLIC_URL,
        ],
    ),
    Table {
        id: "secret",
        doc: "Where a secret is; never the secret itself",
        keys: &[
            key("env", TEXT, "\"TOKEN\"", "an environment variable of the host"),
            key("file", TEXT, "\"token\"", "a file, whose text it is without its last newline"),
        ],
        one_of: &[(true, &["env", "file"])],
        others: None,
    },
];

/// Kinds of place to publish to; `target` is any of them.
pub const TARGETS: [&str; 4] = ["shacache", "directory", "http", "s3"];
