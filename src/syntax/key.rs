//! What is known about tables and keys, as plain data. Knows no key by name.

/// A table of the manifest, or one that several keys can have as their value.
#[derive(Debug)]
pub struct Table {
    /// What the schema, the contracts and the other tables call it: `bootstrap`.
    pub id: &'static str,
    /// What it is for, in one line.
    pub doc: &'static str,
    /// Its keys, in the order of the manual; keys that several tables share are a part of their own.
    pub parts: &'static [&'static [&'static Key]],
    /// Groups of keys that exclude each other.
    pub groups: &'static [Group],
    /// What keys of any other name are, where there may be such.
    pub others: Option<(&'static Form, Kind)>,
    /// A key that it shares with tables of other kinds, and which says that it is of this one.
    pub tag: Option<Tag>,
}

/// What a key that tables of several kinds share has as its value in one of them.
#[derive(Clone, Copy, Debug)]
pub struct Tag {
    /// Name of the key.
    pub key: &'static str,
    /// Its only word here.
    pub word: &'static str,
    /// The same as a choice.
    pub words: fn() -> Vec<&'static str>,
    /// The same in TOML.
    pub example: &'static str,
}

/// Keys that exclude each other.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Whether one of them must be there.
    pub needed: bool,
    pub keys: Keys,
}

/// Keys of the same table; a function, because a row cannot contain its neighbours.
pub type Keys = fn() -> Vec<&'static Key>;

#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it means, in Markdown, beginning small.
    pub doc: &'static str,
    /// What holds without it, in TOML or in words.
    pub default: Option<&'static str>,
    /// A value, in TOML; with `…` in it, a sketch for people.
    pub example: &'static str,
    /// How people write it, where that is another way.
    pub written: Option<&'static str>,
    /// Whether it must be there.
    pub needed: bool,
    /// Keys of which one must be there too.
    pub goes_with: Option<Keys>,
    /// Keys that must all be there too.
    pub needs: Option<Keys>,
}

/// Kinds of value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A text of a certain form.
    Text(&'static Form),
    /// One of some words.
    Choice(fn() -> Vec<&'static str>),
    /// A whole number in a range.
    Whole(i64, i64),
    /// `true`.
    Yes,
    /// A text, a number, true or false, or a list of those.
    Variable,
    List(&'static Kind),
    /// One value, or a list of such.
    OneOrMore(&'static Kind),
    Table(&'static str),
    /// A table whose keys are names, and what they name.
    Named(&'static Form, &'static Kind),
    /// Any of some kinds.
    Either(&'static [Kind]),
}

/// A form that texts can have.
#[derive(Debug)]
pub struct Form {
    /// What the contracts call it.
    pub name: &'static str,
    /// With its article.
    pub what: &'static str,
    /// A regular expression for the whole of it, in the syntax that Rust's and JavaScript's share. The reader may be
    /// stricter.
    pub pattern: &'static str,
    /// One of them.
    pub example: &'static str,
}

impl Table {
    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + Clone {
        self.parts.iter().flat_map(|part| part.iter().copied())
    }

    /// All keys as they are here.
    pub fn keys_here(&self) -> impl Iterator<Item = Key> {
        self.keys().map(|key| match self.tag {
            Some(tag) if tag.key == key.name => Key {
                kind: Kind::Choice(tag.words),
                example: tag.example,
                ..*key
            },
            _ => *key,
        })
    }

    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

impl Key {
    /// Names of the keys of which one must be there too.
    pub fn companions(&self) -> Vec<&'static str> {
        names(self.goes_with)
    }

    /// Names of the keys that must all be there too.
    pub fn needs(&self) -> Vec<&'static str> {
        names(self.needs)
    }
}

impl Group {
    /// Names of its keys.
    pub fn names(&self) -> Vec<&'static str> {
        names(Some(self.keys))
    }
}

fn names(keys: Option<Keys>) -> Vec<&'static str> {
    keys.map_or_else(Vec::new, |keys| keys().iter().map(|key| key.name).collect())
}
