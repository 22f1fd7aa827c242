//! Rows: what is known about a key, with the type that its value is read as. Knows the kinds of value, no key by name.

use std::marker::PhantomData;
use std::ops::Deref;

use super::error::Problems;
use super::fields::{Field, Fields};
use super::key::{Key, Keys, Kind, Table};
use super::parse::{self, Node, Value};
use super::sources::Sources;
use super::suggest;
use super::text::TextForm;

/// A kind of value as a type.
pub trait Shape {
    const KIND: Kind;
    /// A value, in TOML; shown where values have names and no row of their own.
    const EXAMPLE: &'static str = "…";
}

/// A kind of value that can be read by itself.
pub trait Read: Shape {
    /// What it is read as.
    type Value;
    /// Reads it. Nothing: it was reported.
    fn read(field: &Field<'_>) -> Option<Self::Value>;
}

/// A table's keys as a type.
pub trait Record {
    /// What the table is called.
    const ID: &'static str;
    /// A table with these keys, in TOML.
    const EXAMPLE: &'static str;
    const TABLE: &'static Table;
}

/// Keys that exclude each other, as an enum.
pub trait OneOf: Copy + 'static {
    /// Each with its key.
    fn all() -> Vec<(&'static Key, Self)>;

    fn keys() -> Vec<&'static Key> {
        Self::all().into_iter().map(|(key, _)| key).collect()
    }
}

/// Words that a key can have as its value, as an enum.
pub trait Word: Copy + 'static {
    /// All of them, the usual one first.
    const ALL: &'static [Self];

    /// As written.
    fn word(self) -> &'static str;

    /// All as written.
    fn words() -> Vec<&'static str> {
        Self::ALL.iter().map(|one| one.word()).collect()
    }
}

/// Words of types that know them by a function `name`.
macro_rules! words {
    ($($type:ident: $($word:ident),+;)+) => {
        $(impl $crate::syntax::row::Word for $type {
            const ALL: &'static [Self] = &[$(Self::$word),+];

            fn word(self) -> &'static str {
                self.name()
            }
        })+
    };
}

pub(crate) use words;

/// A key and the shape of its value.
#[derive(Debug)]
pub struct Row<S> {
    /// What is known about it.
    pub key: Key,
    shape: PhantomData<S>,
}

/// A value with the shape that its row promises.
#[derive(Debug)]
pub struct Cell<'a, S> {
    field: Field<'a>,
    shape: PhantomData<S>,
}

/// One of some words.
#[derive(Debug)]
pub struct Choice<W>(PhantomData<W>);

/// A whole number.
#[derive(Debug)]
pub struct Whole<T, const LEAST: i64, const MOST: i64>(PhantomData<T>);

/// `true`.
#[derive(Debug)]
pub struct Yes;

/// What a variable can be.
#[derive(Debug)]
pub struct Var;

#[derive(Debug)]
pub struct List<S>(PhantomData<S>);

/// One value, or a list that has some.
#[derive(Debug)]
pub struct OneOrMore<S>(PhantomData<S>);

/// A table.
#[derive(Debug)]
pub struct In<R>(PhantomData<R>);

/// A table whose keys are names of the form `N`.
#[derive(Debug)]
pub struct Named<N, S>(PhantomData<(N, S)>);

/// One kind of value or another.
#[derive(Debug)]
pub struct Either<A, B>(PhantomData<(A, B)>);

impl<S: Shape> Row<S> {
    /// A key that may be absent.
    pub const fn new(name: &'static str, example: &'static str, doc: &'static str) -> Self {
        Self {
            key: Key {
                name,
                kind: S::KIND,
                doc,
                default: None,
                example,
                written: None,
                needed: false,
                goes_with: None,
                needs: None,
            },
            shape: PhantomData,
        }
    }

    /// It must be there.
    pub const fn needed(mut self) -> Self {
        self.key.needed = true;
        self
    }

    /// How people write it, where the example is another way.
    pub const fn written(mut self, written: &'static str) -> Self {
        self.key.written = Some(written);
        self
    }

    /// What holds without it: a value in TOML, or words.
    pub const fn default(mut self, default: &'static str) -> Self {
        self.key.default = Some(default);
        self
    }

    /// It means something only where one of these is.
    pub const fn goes_with(mut self, companions: Keys) -> Self {
        self.key.goes_with = Some(companions);
        self
    }

    /// It means something only where all of these are.
    pub const fn needs(mut self, others: Keys) -> Self {
        self.key.needs = Some(others);
        self
    }
}

impl<S> Row<S> {
    /// The default, where it is a value, as `read` reads it.
    pub fn default_with<T>(&self, read: impl FnOnce(&Cell<'_, S>) -> Option<T>) -> Option<T> {
        let document = parse::parse(&format!("x = {}", self.key.default?)).ok()?;
        let Value::Table(entries) = &document.value else {
            return None;
        };
        let problems = Problems::new(Sources::new([]));
        read(&Cell::new(Field::lone(
            &self.key,
            &entries.first()?.node,
            &problems,
        )))
    }
}

impl<S: Read> Row<S> {
    /// The default, where it is a value.
    pub fn default_value(&self) -> Option<S::Value> {
        self.default_with(|cell| S::read(&cell.field))
    }
}

impl<'a> Fields<'a> {
    /// The value of a key, where it is there.
    pub fn get<S>(&self, row: &'static Row<S>) -> Option<Cell<'a, S>> {
        self.find(&row.key).map(Cell::new)
    }

    /// The same, read.
    pub fn read<S: Read>(&self, row: &'static Row<S>) -> Option<S::Value> {
        S::read(&self.find(&row.key)?)
    }

    /// The same; the default where it is absent or was reported.
    pub fn read_or_default<S: Read<Value: Default>>(&self, row: &'static Row<S>) -> S::Value {
        self.read(row).unwrap_or_else(|| {
            let default = row.default_value();
            debug_assert!(default.is_some(), "the default of `{}` is no value", row.key.name);
            default.unwrap_or_default()
        })
    }

    /// The table that a key has as its value; an empty one where it is absent or was reported.
    pub fn table<R: Record>(&self, row: &'static Row<In<R>>) -> Self {
        let cell = self.get(row);
        let fields = cell.and_then(|cell| cell.fields());
        fields.unwrap_or_else(|| self.empty(R::TABLE))
    }

    /// The items of a list, where it is there.
    pub fn items<L: ListOf>(&self, row: &'static Row<L>) -> Vec<Cell<'a, L::Item>> {
        let Some(field) = self.find(&row.key) else {
            return Vec::new();
        };
        L::items(&field).unwrap_or_default()
    }

    /// Words of a list, each of them once.
    pub fn once<W: Word + PartialEq>(&self, row: &'static Row<List<Choice<W>>>) -> Vec<W> {
        if self.get(row).is_none() {
            return self.read_or_default(row);
        }
        let mut words = Vec::new();
        for item in self.items(row) {
            match item.read() {
                Some(word) if words.contains(&word) => {
                    item.bad(format!("{} is there twice", word.word()), "take one of them out");
                }
                word => words.extend(word),
            }
        }
        words
    }

    /// Which of the keys that exclude each other is there.
    pub fn one_of<K: OneOf>(&self) -> Option<(K, Field<'a>)> {
        let key = self.only(K::keys())?;
        let (_, kind) = K::all().into_iter().find(|(other, _)| other.name == key.name)?;
        Some((kind, self.find(key)?))
    }
}

/// Lists of both kinds.
pub trait ListOf: Shape {
    /// Shape of the items.
    type Item;
    fn items<'a>(field: &Field<'a>) -> Option<Vec<Cell<'a, Self::Item>>>;
}

impl<'a, S> Cell<'a, S> {
    fn new(field: Field<'a>) -> Self {
        Self {
            field,
            shape: PhantomData,
        }
    }
}

impl<'a, S> Deref for Cell<'a, S> {
    type Target = Field<'a>;

    fn deref(&self) -> &Field<'a> {
        &self.field
    }
}

impl<S: Read> Cell<'_, S> {
    /// The value. Nothing: it was reported.
    pub fn read(&self) -> Option<S::Value> {
        S::read(&self.field)
    }
}

impl<'a, R: Record> Cell<'a, In<R>> {
    pub fn fields(&self) -> Option<Fields<'a>> {
        self.field.open(R::TABLE)
    }
}

impl<'a, N, S: Shape> Cell<'a, Named<N, S>> {
    /// What the names name.
    pub fn named(&self) -> Vec<Cell<'a, S>> {
        let fields = self.field.entries(S::EXAMPLE).unwrap_or_default();
        fields.into_iter().map(Cell::new).collect()
    }
}

impl<'a, A, R: Record> Cell<'a, Either<A, In<R>>> {
    /// The value as what it looks like.
    pub fn either(&self) -> Result<Cell<'a, A>, Cell<'a, In<R>>> {
        match self.field.node.value {
            Value::Table(_) => Err(Cell::new(self.field.clone())),
            _ => Ok(Cell::new(self.field.clone())),
        }
    }
}

impl<T: TextForm> Shape for T {
    const KIND: Kind = Kind::Text(T::FORM);
}

impl<T: TextForm> Read for T {
    type Value = T::Value;

    fn read(field: &Field<'_>) -> Option<T::Value> {
        match T::parse(field.text()?) {
            Ok(value) => Some(value),
            Err(bad) => {
                field.bad(bad.cause, bad.remedy.unwrap_or_else(|| field.remedy()));
                None
            }
        }
    }
}

impl<W: Word> Shape for Choice<W> {
    const KIND: Kind = Kind::Choice(W::words);
}

impl<W: Word> Read for Choice<W> {
    type Value = W;

    fn read(field: &Field<'_>) -> Option<W> {
        let text = field.text()?;
        let found = W::ALL.iter().copied().find(|one| one.word() == text);
        if found.is_none() {
            let remedy = suggest::remedy(text, "choices", W::words());
            field.bad(format!("`{text}` is not one of the choices"), remedy);
        }
        found
    }
}

impl<T, const LEAST: i64, const MOST: i64> Shape for Whole<T, LEAST, MOST> {
    const KIND: Kind = Kind::Whole(LEAST, MOST);
}

impl<T: TryFrom<i64>, const LEAST: i64, const MOST: i64> Read for Whole<T, LEAST, MOST> {
    type Value = T;

    fn read(field: &Field<'_>) -> Option<T> {
        let Value::Integer(number) = field.node.value else {
            return field.wrong("a whole number");
        };
        if !(LEAST..=MOST).contains(&number) {
            field.bad(
                format!("{number} is out of range"),
                format!("write a number from {LEAST} to {MOST}"),
            );
            return None;
        }
        T::try_from(number).ok()
    }
}

impl Shape for Yes {
    const KIND: Kind = Kind::Yes;
}

impl Read for Yes {
    type Value = ();

    fn read(field: &Field<'_>) -> Option<()> {
        if matches!(field.node.value, Value::Boolean(true)) {
            return Some(());
        }
        field.bad(
            "only `true` means something here",
            format!("write {} = true, or take it out", field.key),
        );
        None
    }
}

impl Shape for Var {
    const KIND: Kind = Kind::Variable;
    const EXAMPLE: &'static str = "\"fr\"";
}

impl Read for Var {
    type Value = serde_json::Value;

    fn read(field: &Field<'_>) -> Option<serde_json::Value> {
        let value = variable(field.node);
        value.or_else(|| field.wrong("a text, a number, true or false, or a list of those"))
    }
}

fn variable(node: &Node) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::Text(text) | Value::Date(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(flag) => (*flag).into(),
        Value::Float(number) if number.is_finite() => (*number).into(),
        Value::List(items) => items.iter().map(variable).collect::<Option<Vec<_>>>()?.into(),
        Value::Float(_) | Value::Table(_) => return None,
    })
}

impl<S: Shape> List<S> {
    const ITEM: &'static Kind = &S::KIND;
}

impl<S: Shape> Shape for List<S> {
    const KIND: Kind = Kind::List(Self::ITEM);
}

impl<S: Shape> ListOf for List<S> {
    type Item = S;

    fn items<'a>(field: &Field<'a>) -> Option<Vec<Cell<'a, S>>> {
        Some(field.items()?.into_iter().map(Cell::new).collect())
    }
}

impl<S: Read> Read for List<S> {
    type Value = Vec<S::Value>;

    fn read(field: &Field<'_>) -> Option<Self::Value> {
        Some(Self::items(field)?.iter().filter_map(Cell::read).collect())
    }
}

impl<S: Shape> OneOrMore<S> {
    const ITEM: &'static Kind = &S::KIND;
}

impl<S: Shape> Shape for OneOrMore<S> {
    const KIND: Kind = Kind::OneOrMore(Self::ITEM);
}

impl<S: Shape> ListOf for OneOrMore<S> {
    type Item = S;

    fn items<'a>(field: &Field<'a>) -> Option<Vec<Cell<'a, S>>> {
        let Value::List(_) = field.node.value else {
            return Some(vec![Cell::new(field.clone())]);
        };
        let items = field.items()?;
        if items.is_empty() {
            field.bad("the list is empty", "name at least one");
        }
        Some(items.into_iter().map(Cell::new).collect())
    }
}

impl<R: Record> Shape for In<R> {
    const KIND: Kind = Kind::Table(R::ID);
    const EXAMPLE: &'static str = R::EXAMPLE;
}

impl<N: TextForm, S: Shape> Named<N, S> {
    const ITEM: &'static Kind = &S::KIND;
}

impl<N: TextForm, S: Shape> Shape for Named<N, S> {
    const KIND: Kind = Kind::Named(N::FORM, Self::ITEM);
}

impl<A: Shape, B: Shape> Either<A, B> {
    const KINDS: &'static [Kind] = &[A::KIND, B::KIND];
}

impl<A: Shape, B: Shape> Shape for Either<A, B> {
    const KIND: Kind = Kind::Either(Self::KINDS);
    const EXAMPLE: &'static str = "\"text\"";
}
