//! `[flavors.*]`, `[[images]]`, `[[checks]]`: what is done inside, what is wanted, what must hold.

use std::iter;

use super::super::key::{Key, Keys};
use super::super::row::{Choice, Either, In, List, Named, OneOf, OneOrMore, Whole, Word, Yes};
use super::super::text::{AnyText, Glob, GuestPath, Mode, Name, OneLine, Owner, Size, Text, Time, Variable};
use super::SecretKeys;
use crate::checks::{self, CheckSet};
use crate::platform::Start;
use crate::syntax::table::{one_of, table};

table! {
    FLAVOR: FlavorKeys = "flavor", "What is done inside", "{ steps = [{ run = \"guest/update.sh\" }] }";
    extends: Text = "\"base\"", "another flavor, whose steps and checks come first";
    steps: List<In<StepKeys>> = "[{ run = \"guest/update.sh\" }]", "what is done, in order";
    checks: List<Choice<CheckSet>> = "[\"standard\"]", "sets of checks that its images must pass";
}

const SCRIPTS: Keys = || vec![&STEP.run.key, &STEP.inline.key];
/// Steps that can be tried again. A restart takes as long as the guest shows signs of life, and one that failed has no
/// guest left to try again in.
const TRIED: Keys = || {
    let keys = StepKey::all().into_iter();
    let tried = keys.filter(|(_, kind)| *kind != StepKey::Reboot);
    tried.map(|(key, _)| key).collect()
};
/// Checks that have a name of their own: in a set, each check has one.
const NAMED: Keys = || checks::keys().collect();
const OF_COPY: Keys = || vec![&STEP.copy.key];

table! {
    STEP: StepKeys = "step", "One thing that is done inside", "{ run = \"guest/update.sh\" }",
        groups [needed StepKey];
    run: Text = "\"guest/update.sh\"", "a script";
    inline: Text = "\"echo hello > /etc/motd\"", "a script, written here";
    copy: Text = "\"files/motd\"", "a file, or the contents of a folder".needs(|| vec![&STEP.to.key]);
    reboot: Yes = "true", "`true`: reboots the guest";
    install: Choice<Installed> = "\"vm-bootstrap\"", "the boot-time agent";
    ansible: Text = "\"site.yml\"", "a playbook; everything in its folder counts as its input";
    env: Named<Variable, Either<AnyText, In<SecretKeys>>> = "{ PACKAGES = \"wget {{ editor }}\" }",
        "environment of the script: templates, or secrets".goes_with(SCRIPTS);
    interpreter: Text = "\"bash\"", "what runs it".default("the script's `#!`").goes_with(SCRIPTS);
    user: Name = "\"ann\"", "who runs it, in their home and with their environment".default("root, in `/`").goes_with(SCRIPTS);
    exit_codes: List<Whole<i32, 0, 255>> = "[0, 3]", "codes that mean success"
        .default("[0]").goes_with(SCRIPTS);
    to: GuestPath = "\"/etc/motd\"", "where the copy goes; must be there with `copy`".goes_with(OF_COPY);
    mode: Mode = "\"0644\"", "mode of the copy; of a folder: of the files in it"
        .default("as it is here").goes_with(OF_COPY);
    owner: Owner = "\"root:root\"", "owner of the copy; folders that the guest has keep theirs".default("\"root:root\"").goes_with(OF_COPY);
    args: List<Text> = "[\"--diff\"]", "further arguments of `ansible-playbook`"
        .default("[]").goes_with(|| vec![&STEP.ansible.key]);
    name: Text = "\"upgrade\"", "what reports call it";
    timeout: Time = "\"10m\"", "longest time for one attempt".default("\"30m\"").goes_with(TRIED);
    retries: Whole<u32, 0, 100> = "1", "how often it is tried again".default("0").goes_with(TRIED);
    checkpoint: Yes = "true", "`true`: keeps the guest's disk as it is after this step, for later builds to start from"
        .default("kept after two seconds of work");
}

one_of! {
    /// Kinds of step.
    StepKey of STEP {
        Run: run, Inline: inline, Copy: copy, Reboot: reboot, Install: install, Ansible: ansible,
    }
}

/// What a step can install.
#[derive(Clone, Copy, Debug)]
pub enum Installed {
    /// The boot-time agent.
    VmBootstrap,
}

impl Word for Installed {
    const ALL: &'static [Self] = &[Self::VmBootstrap];

    fn word(self) -> &'static str {
        match self {
            Self::VmBootstrap => "vm-bootstrap",
        }
    }
}

table! {
    IMAGE: ImageKeys = "image", "What is wanted: every size of every flavor of every distro that it names",
        "{ distro = \"debian12\", flavor = \"base\", sizes = [\"20G\"] }";
    distro: OneOrMore<Text> = "[\"debian12\", \"noble\"]", "one or several of `[distros]`".needed();
    flavor: OneOrMore<Text> = "\"full\"", "one or several of `[flavors]`".needed();
    sizes: OneOrMore<Size> = "[\"3G\", \"20G\"]", "sizes of the disks".needed();
    id: Text = "\"{{ distro }}-{{ size }}\"", "what each is called (a template)"
        .default("\"{{ distro }}-{{ size }}-{{ flavor }}\"");
    checks: List<Choice<CheckSet>> = "[\"standard\"]", "sets of checks that they must pass";
    firmware: OneOrMore<Choice<Start>> = "[\"bios\", \"secure-boot\"]", "what their checks start them with"
        .default("all that the distro is made for");
}

table! {
    CHECK: CheckKeys = "check", "What must hold of booted images", "{ set = \"standard\" }",
        parts of CHECK_PARTS, groups [needed CheckKey];
    set: Choice<CheckSet> = "\"standard\"", "all checks of a set";
    name: OneLine = "\"web server\"",
        "what reports call it; a check with the name of one in a set takes that one's place"
        .default("the key's").goes_with(NAMED);
    images: OneOrMore<Glob> = "\"debian12-*\"", "which images it is for: ids or globs".default("all");
    flavors: OneOrMore<Glob> = "\"web\"", "which flavors it is for".default("all");
    distros: OneOrMore<Glob> = "\"debian12\"", "which distros it is for".default("all");
}

/// The set, the keys of each kind of check, and those that all have.
const CHECK_PARTS: [&[&Key]; checks::ROWS.len() + 2] = {
    let (set, all) = CheckKeys::ROWS.split_at(1);
    let mut parts = [all; checks::ROWS.len() + 2];
    parts[0] = set;
    let mut kind = 0;
    while kind < checks::ROWS.len() {
        parts[kind + 1] = checks::ROWS[kind];
        kind += 1;
    }
    parts
};

/// What a check is.
#[derive(Clone, Copy, Debug)]
pub enum CheckKey {
    Set,
    /// Of the kind that has this key.
    Kind(&'static Key),
}

impl OneOf for CheckKey {
    fn all() -> Vec<(&'static Key, Self)> {
        let kinds = checks::keys().map(|key| (key, Self::Kind(key)));
        iter::once((&CHECK.set.key, Self::Set)).chain(kinds).collect()
    }
}
