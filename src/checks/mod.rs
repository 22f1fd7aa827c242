//! Kinds of check, one file each: what a manifest says of it, what it has to see or to ask, and what it makes of that. All
//! of it is pure; how a boot is made and watched is not known here. To add a kind, write its file and list it below.

mod agent;
mod boots_within;
mod command;
#[cfg(test)]
mod example;
mod identity;
pub mod judge;
mod login_prompt;
mod network;
mod no_failed_units;
mod no_traces;
mod port;
mod root_size;
mod started_by;
mod tpm;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::agent::Agent;
pub use self::boots_within::BootsWithin;
pub use self::command::Command;
pub use self::identity::Identity;
pub use self::judge::{Answer, Answers};
use self::judge::{Case, Finding, Look, Owner};
pub use self::login_prompt::LoginPrompt;
pub use self::network::Network;
pub use self::no_failed_units::NoFailedUnits;
pub use self::no_traces::NoTraces;
pub use self::port::{Port, SSH};
pub use self::root_size::RootSize;
pub use self::started_by::StartedBy;
pub use self::tpm::Tpm;
use crate::syntax::fields::Fields;
use crate::syntax::key::Key;
use crate::syntax::row::words;

/// One assertion with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What reports call it; no two checks of an image have the same.
    pub name: String,
    /// What must hold.
    pub assertion: Assertion,
}

/// What a check says of itself.
pub trait Kind: fmt::Debug {
    /// Its name where the manifest gives it none; by default that of its key.
    fn name(&self) -> Option<String> {
        None
    }

    /// What a result depends on in addition to the kind.
    fn input(&self) -> Value {
        Value::Null
    }

    /// What has to be seen or asked.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// Whether others that could not be looked at for this reason leave the failure to this one.
    fn owns(&self, _owner: Owner) -> bool {
        false
    }

    /// What must be, in words that follow "expected".
    fn expected(&self, case: &Case<'_>) -> String;

    /// What came of it in a guest that showed signs of life.
    fn find(&self, look: &Look<'_>) -> Finding;

    /// How long that took.
    fn took(&self, look: &Look<'_>) -> Duration {
        look.answer().map_or(Duration::ZERO, |answer| answer.took)
    }
}

/// How a manifest writes it.
pub trait Written: Kind + Sized {
    /// Its keys; the first one says that it is of this kind.
    const ROWS: &'static [&'static Key];

    /// Nothing: it was reported.
    fn read(table: &Fields<'_>) -> Option<Self>;
}

/// What a check needs of the boot.
#[derive(Debug, Default)]
pub struct Needs {
    /// What is asked in the guest.
    pub question: Option<Question>,
    /// Whether that reads all files of the guest.
    pub reads_all: bool,
    /// Whether it is asked in a second clone too.
    pub second: bool,
    /// Whether the boot-time agent must do the asking, and is watched until it stopped.
    pub agent: bool,
    /// Longest time to the first sign of life, under KVM.
    pub within: Option<Duration>,
    /// Whether a login prompt is waited for.
    pub login: bool,
    /// A port to knock at.
    pub port: Option<u16>,
}

/// A question for the guest.
#[derive(Debug)]
pub enum Question {
    /// A function of `guest/check.sh`.
    Fact(&'static str),
    /// The same, only where others ask too.
    Along(&'static str),
    /// A text for `/bin/sh`, with the longest time for it.
    Command(String, Duration),
}

impl Needs {
    /// This is asked in the guest.
    fn fact(name: &'static str) -> Self {
        Self {
            question: Some(Question::Fact(name)),
            ..Self::default()
        }
    }

    /// Whether there is no other way to find out than to ask in the guest.
    pub fn asks(&self) -> bool {
        matches!(self.question, Some(Question::Fact(_) | Question::Command(..)))
    }
}

/// A kind that has one key: `true` switches it on, or the key's value is all that it has to say.
macro_rules! one_key {
    ($name:ident = $key:literal, $doc:literal) => {
        $crate::checks::one_key!(@ $name [] |()| $name, $crate::syntax::row::Yes, $key, "true", $doc);
    };
    ($name:ident($value:ty): $shape:ty = $key:literal, $example:literal, $doc:literal) => {
        $crate::checks::one_key!(@ $name [(pub $value)] $name, $shape, $key, $example, $doc);
    };
    (@ $name:ident [$($body:tt)*] $make:expr, $shape:ty, $key:literal, $example:literal, $doc:literal) => {
        static KEY: $crate::syntax::row::Row<$shape> = $crate::syntax::row::Row::new($key, $example, $doc);

        #[doc = concat!("See the key `", $key, "`.")]
        #[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name $($body)*;

        impl $crate::checks::Written for $name {
            const ROWS: &'static [&'static $crate::syntax::key::Key] = &[&KEY.key];

            fn read(table: &$crate::syntax::fields::Fields<'_>) -> Option<Self> {
                table.read(&KEY).map($make)
            }
        }
    };
}

use one_key;

/// Makes one type of all kinds.
macro_rules! checks {
    ($($(#[cfg($cfg:meta)])? $name:ident($kind:ty)),+ $(,)?) => {
        /// What must hold.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Assertion {
            $($(#[cfg($cfg)])? $name($kind)),+
        }

        /// Keys of all kinds.
        pub const ROWS: &[&[&Key]] = &[$($(#[cfg($cfg)])? <$kind as Written>::ROWS),+];

        /// Reads a check of the kind that has this key. Nothing: it was reported.
        pub fn read(key: &Key, table: &Fields<'_>) -> Option<Check> {
            $(
                $(#[cfg($cfg)])?
                if key.name == <$kind as Written>::ROWS[0].name {
                    return <$kind as Written>::read(table).map(Check::from);
                }
            )+
            None
        }

        impl Assertion {
            /// The key of its kind.
            fn key(&self) -> &'static Key {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(_) => <$kind as Written>::ROWS[0]),+
                }
            }
        }

        impl std::ops::Deref for Assertion {
            type Target = dyn Kind;

            fn deref(&self) -> &Self::Target {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(kind) => kind),+
                }
            }
        }

        $(
            $(#[cfg($cfg)])?
            impl From<$kind> for Check {
                fn from(kind: $kind) -> Self {
                    let assertion = Assertion::$name(kind);
                    let usual = || assertion.key().name.replace('_', "-");
                    let name = assertion.name().unwrap_or_else(usual);
                    Self { name, assertion }
                }
            }
        )+
    };
}

checks! {
    BootsWithin(BootsWithin),
    LoginPrompt(LoginPrompt),
    Network(Network),
    Port(Port),
    RootSize(RootSize),
    NoFailedUnits(NoFailedUnits),
    Identity(Identity),
    NoTraces(NoTraces),
    Agent(Agent),
    Command(Command),
    StartedBy(StartedBy),
    Tpm(Tpm),
    #[cfg(test)]
    Example(example::ExampleCheck),
}

impl Assertion {
    /// As it is in the key of a result.
    pub fn in_key(&self) -> Value {
        let kind = self.key().name;
        match self.input() {
            Value::Null => kind.into(),
            input => Value::from_iter([(kind, input)]),
        }
    }
}

/// The keys that say of which kind a check is.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    ROWS.iter().map(|rows| rows[0])
}

/// A built-in set of checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckSet {
    /// What every image must do.
    Standard,
    /// What an image with the boot-time agent must do as well.
    VmBootstrap,
}

words! { CheckSet: Standard, VmBootstrap; }

impl CheckSet {
    /// As in a manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::VmBootstrap => "vm-bootstrap",
        }
    }

    pub fn checks(self) -> Vec<Check> {
        match self {
            Self::Standard => vec![
                BootsWithin::default().into(),
                LoginPrompt.into(),
                Network.into(),
                Port(SSH).into(),
                RootSize.into(),
                NoFailedUnits.into(),
                Identity.into(),
                NoTraces.into(),
            ],
            Self::VmBootstrap => vec![Agent.into()],
        }
    }
}
