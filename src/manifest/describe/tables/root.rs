//! The manifest as a whole, `[pipeline]`, `[resources]`, secrets.

use super::super::row::{Choice, In, List, Named, Var, Whole};
use super::super::text::{Name, Size, Text, Time, Variable};
use super::{CheckKeys, DistroKeys, FlavorKeys, ImageKeys, PublishKeys};
use crate::manifest::model::After;
use crate::syntax::table::table;

table! {
    MANIFEST: ManifestKeys = "manifest", "What to build", "…";
    pipeline: In<PipelineKeys> = "{ name = \"house\" }", "what it is called, and where images go";
    resources: In<ResourcesKeys> = "{ memory = \"4G\" }", "what a run may use of the host"
        .default("what the host has");
    vars: Named<Variable, Var> = "{ keymap = \"fr\" }",
        "texts, numbers, booleans, dates and lists of those; every template sees them";
    families: List<Text> = "[\"devuan.toml\"]",
        "files with families and installers of your own, in addition to the built-in ones";
    distros: Named<Name, In<DistroKeys>> =
        "{ debian12 = { family = \"debian\", version = \"12\", source = { bootstrap = { suite = \"bookworm\" } } } }",
        "what is installed, by name".needed()
        .written("[distros.debian12]\nfamily  = \"debian\"\nversion = \"12\"\nsource  = { bootstrap = { suite = \"bookworm\" } }");
    flavors: Named<Name, In<FlavorKeys>> = "{ base = { steps = [] } }", "what is done inside, by name";
    images: List<In<ImageKeys>> = "[{ distro = \"debian12\", flavor = \"base\", sizes = [\"20G\"] }]",
        "what is wanted".needed()
        .written("[[images]]\ndistro = \"debian12\"\nflavor = \"base\"\nsizes  = [\"20G\"]");
    checks: List<In<CheckKeys>> = "[{ set = \"standard\" }]",
        "what must hold of booted images, for all of them or some";
    publish: In<PublishKeys> = "{ compress = \"zstd\" }",
        "in which form images appear, and where they are published";
    report: In<ReportKeys> = "{ file = \"report.html\" }", "the page about each run";
    hooks: List<In<HookKeys>> = "[{ after = \"failure\", command = \"mail -s failed ops\" }]",
        "commands on this host, when something has happened";
}

table! {
    REPORT: ReportKeys = "report", "The page about each run", "{ file = \"report.html\" }";
    file: Text = "\"reports/newest.html\"",
        "where `pipeline run` writes what happened, as `--report` does; relative to where the program is started".needed();
}

table! {
    HOOK: HookKeys = "hook", "A command on this host", "{ after = \"failure\", command = \"mail -s failed ops\" }";
    after: Choice<After> = "\"image\"",
        "`image`: once for each image that was built; `run`: after a run without a failure; `failure`: after one that failed, or was refused".needed();
    command: Text = "\"./import.sh\"", "for `sh -c`, in the manifest's folder; what happened is its standard input, as JSON".needed();
    timeout: Time = "\"1h\"", "longest time that it may take".default("\"5m\"");
}

table! {
    PIPELINE: PipelineKeys = "pipeline", "What it is called, and where images go", "{ name = \"house\" }";
    name: Name = "\"house\"", "what runs and logs are called".default("the file's name without its ending");
    output: Text = "\"out\"", "folder of the images, relative to where the program is started".default("\"out\"");
}

table! {
    RESOURCES: ResourcesKeys = "resources", "What a run may use of the host", "{ memory = \"4G\" }";
    memory: Size = "\"4G\"", "memory for machines; never more than the host has available"
        .default("what the host has, less a reserve");
    cpus: Whole<u32, 1, 512> = "4", "virtual CPUs at once".default("what the host has");
    scratch: Size = "\"20G\"",
        "disk space for scratch files; what nodes take is an upper bound, so it may be more than there is"
        .default("what the host has, less a reserve");
    jobs: Whole<usize, 1, 1024> = "2", "nodes at once".default("as many as there is room for");
    reread: Time = "\"24h\"",
        "how long a result of the store that was read back and found as written is built from without being read again; one \
         whose files were touched since is read in any case, and so is what is published"
        .default("\"24h\"");
}
