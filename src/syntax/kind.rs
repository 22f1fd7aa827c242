//! The words of every mistake: what is wrong, a label for the place, a remedy. Knows no places.

/// What is wrong. Paths are dotted places in the manifest: `distros.debian12.disk`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ProblemKind {
    /// A name that could not be used as a file name or an identifier.
    #[error("`{name}` cannot be {what}: {cause}")]
    BadName {
        /// With its article: `the name of a distro`.
        what: &'static str,
        name: String,
        cause: String,
        remedy: &'static str,
    },
    /// A value of the right type that makes no sense.
    #[error("`{path}`: {cause}")]
    BadValue {
        path: String,
        cause: String,
        remedy: String,
    },
    /// Flavors that extend each other.
    #[error("flavors extend each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// Two files of the output folder with one name.
    #[error("image `{second}` would be written to `{file}`, which is {first}")]
    Collision {
        /// Below the output folder.
        file: String,
        /// What has the file already: `the file of image …`.
        first: String,
        /// The later image.
        second: String,
    },
    /// A name that nothing bears.
    #[error("there is no {what} `{name}`")]
    Dangling {
        /// `distro` or `flavor`.
        what: &'static str,
        name: String,
        /// What it could be, and what there is.
        remedy: String,
    },
    /// A warning: most likely not what is meant.
    #[error("{cause}")]
    Doubtful { cause: String, remedy: String },
    /// Two checks of one name.
    #[error("image `{image}` has two checks named `{name}`")]
    DuplicateCheck {
        name: String,
        /// An image that has both.
        image: String,
    },
    /// Two images with one id.
    #[error("two images have the id `{id}`")]
    DuplicateImage { id: String, remedy: String },
    /// A file that is absent, unreadable or of the wrong kind.
    #[error("`{path}`: {cause}")]
    File {
        /// Where in the manifest.
        path: String,
        /// Names the file.
        cause: String,
        remedy: String,
    },
    /// A key that means something only with others.
    #[error("`{key}` in `{path}` {rule}")]
    Misplaced {
        key: &'static str,
        path: String,
        /// With which.
        rule: String,
        remedy: String,
    },
    /// A key that must be there.
    #[error("`{path}` lacks `{key}`")]
    MissingKey {
        path: String,
        key: &'static str,
        /// What to add, with the blank or the new line before it.
        example: String,
    },
    /// A VM that could never start under `[resources]`.
    #[error("`{path}` is {wanted}, but `{limit}` allows {allowed}: its VMs could never start")]
    NeverFits {
        /// What asks.
        path: String,
        /// How much it asks for.
        wanted: String,
        /// What limits.
        limit: &'static str,
        /// How much it allows.
        allowed: String,
    },
    /// What Nickel itself found.
    #[error("{cause}")]
    Nickel {
        /// In its words.
        cause: String,
        /// In ours.
        remedy: Option<String>,
    },
    /// Nothing to build.
    #[error("the manifest has no images")]
    NoImages,
    /// None, or several, of the keys that exclude each other.
    #[error("`{path}` has {}", several(.found))]
    OneOf {
        path: String,
        /// Which of the keys are there.
        found: Vec<String>,
        /// Which there can be.
        wanted: Vec<&'static str>,
    },
    /// An output file outside the output folder, or with a name that shells or checksum files cannot take.
    #[error("the file of image `{image}` would be `{file}`: {cause}")]
    OutputPath {
        image: String,
        /// The rendered path.
        file: String,
        cause: &'static str,
    },
    /// A variable named like one that the program sets.
    #[error("`{path}`: the name `{name}` is reserved")]
    Reserved { path: String, name: String },
    /// Not TOML.
    #[error("the manifest is not TOML: {0}")]
    Syntax(String),
    /// A template that cannot be read or rendered.
    #[error("{what}{}: {cause}", at_line(.line.as_ref()))]
    Template {
        /// Which template, and whose.
        what: String,
        /// Its line; absent for templates written in the manifest itself.
        line: Option<usize>,
        cause: String,
        remedy: Option<String>,
    },
    /// An image smaller than the disk it starts from.
    #[error("an image of {size} is smaller than the disk that `{distro}` is installed on ({disk})")]
    TooSmall {
        /// The image's size.
        size: String,
        distro: String,
        /// The distro's install disk.
        disk: String,
    },
    /// A template uses a name that nothing defines.
    #[error("{what}{}: undefined variable `{name}`", at_line(.line.as_ref()))]
    UndefinedVariable {
        /// Which template, and whose.
        what: String,
        /// Its line; absent for templates written in the manifest itself.
        line: Option<usize>,
        /// The variable.
        name: String,
        /// What it could be, and what there is.
        remedy: String,
    },
    /// A key that means nothing here.
    #[error("unknown key `{key}` in `{path}`")]
    UnknownKey {
        key: String,
        path: String,
        /// What it could be, and what there is.
        remedy: String,
    },
    /// A file that cannot be read as a manifest at all.
    #[error("{cause}")]
    Unreadable {
        /// Names the file.
        cause: String,
        remedy: String,
    },
    /// A warning: the secret is not there now. A run refuses to start without it.
    #[error("`{path}`: {cause}")]
    UnsetSecret { path: String, cause: String },
    /// A warning: answers of an installer that do not report its end.
    #[error("the answers `{answers}` of distro `{distro}` do not report that the installation is done")]
    Unreported { answers: String, distro: String },
    /// A warning: no image uses it.
    #[error("no image uses the {what} `{name}`")]
    Unused {
        /// `distro` or `flavor`.
        what: &'static str,
        name: String,
    },
    /// A URL whose bytes nothing proves.
    #[error("`{path}` has a URL but no digest")]
    Unverified { path: String },
    /// A value of another type.
    #[error("`{path}` is {found}, but must be {wanted}")]
    WrongType {
        path: String,
        /// `a whole number`.
        found: &'static str,
        /// `a text`.
        wanted: &'static str,
        /// As it could be written.
        example: String,
    },
}

fn several(found: &[String]) -> String {
    match found {
        [] => "none of the keys that say what it is".to_owned(),
        [most @ .., last] => format!("{} and {last}, which exclude each other", most.join(", ")),
    }
}

fn at_line(line: Option<&usize>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

impl ProblemKind {
    /// A stable name for scripts and for the manual.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "manifest::bad_name",
            Self::BadValue { .. } => "manifest::bad_value",
            Self::Cycle(_) => "manifest::cycle",
            Self::Collision { .. } => "manifest::collision",
            Self::Dangling { .. } => "manifest::dangling",
            Self::Doubtful { .. } => "manifest::doubtful",
            Self::DuplicateCheck { .. } => "manifest::duplicate_check",
            Self::DuplicateImage { .. } => "manifest::duplicate_image",
            Self::File { .. } => "manifest::file",
            Self::Misplaced { .. } => "manifest::misplaced_key",
            Self::MissingKey { .. } => "manifest::missing_key",
            Self::NeverFits { .. } => "manifest::never_fits",
            Self::Nickel { .. } => "manifest::nickel",
            Self::NoImages => "manifest::no_images",
            Self::OneOf { .. } => "manifest::one_of",
            Self::OutputPath { .. } => "manifest::output_path",
            Self::Reserved { .. } => "manifest::reserved",
            Self::Syntax(_) => "manifest::syntax",
            Self::Template { .. } => "manifest::template",
            Self::TooSmall { .. } => "manifest::too_small",
            Self::UndefinedVariable { .. } => "manifest::undefined_variable",
            Self::UnknownKey { .. } => "manifest::unknown_key",
            Self::Unreadable { .. } => "manifest::unreadable",
            Self::Unreported { .. } => "manifest::unreported",
            Self::UnsetSecret { .. } => "manifest::unset_secret",
            Self::Unused { .. } => "manifest::unused",
            Self::Unverified { .. } => "manifest::unverified",
            Self::WrongType { .. } => "manifest::wrong_type",
        }
    }

    /// Whether a run can go on all the same.
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::Doubtful { .. } | Self::Unreported { .. } | Self::UnsetSecret { .. } | Self::Unused { .. }
        )
    }

    /// What the underlined text is, in a few words.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::BadName { .. } => "this name",
            Self::BadValue { .. } | Self::OutputPath { .. } => "here",
            Self::Cycle(_) => "the circle closes here",
            Self::Collision { .. } => "written there too",
            Self::Dangling { .. } => "not found",
            Self::Doubtful { .. } => "look at this",
            Self::DuplicateCheck { .. } | Self::DuplicateImage { .. } => "and here",
            Self::File { .. } => "this file",
            Self::Misplaced { .. } => "means nothing here",
            Self::MissingKey { .. } => "in this table",
            Self::NeverFits { .. } => "more than there is",
            Self::Nickel { .. }
            | Self::NoImages
            | Self::Syntax(_)
            | Self::Template { .. }
            | Self::Unreadable { .. } => "here",
            Self::OneOf { .. } => "exactly one is wanted",
            Self::Reserved { .. } => "the program sets this one",
            Self::TooSmall { .. } => "too small",
            Self::UndefinedVariable { .. } => "not defined",
            Self::UnknownKey { .. } => "not known here",
            Self::Unreported { .. } => "no report at the end",
            Self::UnsetSecret { .. } => "not there now",
            Self::Unused { .. } => "never used",
            Self::Unverified { .. } => "no digest to verify this download",
            Self::WrongType { found, .. } => found,
        }
    }

    pub(super) fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::BadName { remedy, .. } => (*remedy).to_owned(),
            Self::BadValue { remedy, .. }
            | Self::Dangling { remedy, .. }
            | Self::Doubtful { remedy, .. }
            | Self::DuplicateImage { remedy, .. }
            | Self::File { remedy, .. }
            | Self::Misplaced { remedy, .. }
            | Self::UndefinedVariable { remedy, .. }
            | Self::UnknownKey { remedy, .. }
            | Self::Unreadable { remedy, .. } => remedy.clone(),
            Self::Cycle(_) => "take one of these `extends` out".to_owned(),
            Self::Collision { .. } => {
                "give each image a file of its own: publish.file = \"{{ id }}.{{ format }}{{ suffix }}\""
                    .to_owned()
            }
            Self::DuplicateCheck { .. } => "give one of them another `name`".to_owned(),
            Self::MissingKey { example, .. } => format!("add, for instance:{example}"),
            Self::NeverFits { path, limit, .. } => format!("raise `{limit}` or lower `{path}`"),
            Self::NoImages => "add, for instance:\n[[images]]\ndistro = \"debian12\"\nflavor = \"base\"\n\
                sizes  = [\"20G\"]"
                .to_owned(),
            Self::OneOf { wanted, .. } => format!("write exactly one of {}", wanted.join(", ")),
            Self::OutputPath { .. } => {
                "write `publish.file` as a relative path such as \"{{ id }}.{{ format }}{{ suffix }}\""
                    .to_owned()
            }
            Self::Reserved { .. } => "choose another name; the program gives this one its value".to_owned(),
            Self::Nickel { remedy, .. } | Self::Template { remedy, .. } => return remedy.clone(),
            Self::TooSmall { distro, .. } => {
                format!("take a larger size, or a smaller `distros.{distro}.disk`: images only grow")
            }
            Self::Unreported { .. } => {
                "a failed installation may pass for a good one: run {{ report_installed }} as the \
                                        last command of the answers"
                    .to_owned()
            }
            Self::UnsetSecret { .. } => "a run refuses to start without it".to_owned(),
            Self::Unused { what, .. } => format!("name it in an image's `{what}`, or take it out"),
            Self::Unverified { .. } => {
                "add the digest that the publisher gives: sha256 = \"<64 hex digits>\" (or sha512, md5)"
                    .to_owned()
            }
            Self::WrongType { example, .. } => format!("write it like this: {example}"),
            Self::Syntax(message) => syntax_remedy(message).to_owned(),
        })
    }
}

/// What to write where a manifest is no TOML, by what the parser says (toml_parser, the messages of its parser and decoder).
fn syntax_remedy(message: &str) -> &'static str {
    const REMEDIES: &[(&str, &str)] = &[
        ("is there twice", "take one of them out"),
        (
            "escape",
            "a backslash begins an escape: write `\\\\`, or put the text into single quotes",
        ),
        ("unclosed inline table", "close it: { key = value }"),
        ("unclosed array table", "close it: [[name]]"),
        ("unclosed table", "close it: [name]"),
        ("unclosed array", "close it: [first, second]"),
        ("comma", "put one comma between two: [first, second]"),
        ("quote", "put texts in quotes: name = \"house\""),
        (
            "string",
            "close the text with the quote that it begins with, on the same line",
        ),
        (
            "value",
            "write one: key = \"text\", key = 3, key = [first, second]",
        ),
    ];
    let fits = |(has, _): &&(&str, &str)| message.contains(has);
    let usual =
        "write lines as `key = value`, `[table]`, `[[one of several]]` or `# comment` (https://toml.io)";
    REMEDIES.iter().find(fits).map_or(usual, |(_, remedy)| remedy)
}
