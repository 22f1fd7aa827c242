//! Describes tables and groups of keys. To add a key, add its row to its table and read it: a test fails while nothing
//! reads it, and another until `make docs` was run.

/// A table: the name of its rows, their type; what it is called, what it is for, one of them; perhaps parts that it shares
/// with others, groups of keys that exclude each other, what keys of other names are, and the word for its kind of place.
/// Then its own rows.
macro_rules! table {
    (
        $rows:ident: $type:ident = $id:literal, $doc:literal, $example:literal
        $(, parts [$($part:ident),+])? $(, parts of $parts:path)? $(, groups [$($need:ident $group:ident),+])? $(, others $others:expr)? $(, is $word:literal)?;
        $($name:ident: $shape:ty = $value:literal, $what:literal $(.$with:ident($($arg:expr)?))*;)*
    ) => {
        #[doc = concat!("Rows of the table `", $id, "`: ", $doc, ".")]
        #[derive(Debug)]
        pub struct $type {
            $(#[doc = $what] pub $name: $crate::syntax::row::Row<$shape>,)*
        }

        #[doc = concat!("Rows of the table `", $id, "`.")]
        pub static $rows: $type = $type {
            $($name: $crate::syntax::row::Row::new(stringify!($name), $value, $what)$(.$with($($arg)?))*,)*
        };

        impl $type {
            pub const ROWS: &'static [&'static $crate::syntax::key::Key] = &[$(&$rows.$name.key),*];
        }

        impl $crate::syntax::row::Record for $type {
            const ID: &'static str = $id;
            const EXAMPLE: &'static str = $example;
            const TABLE: &'static $crate::syntax::key::Table = &$crate::syntax::key::Table {
                id: $id,
                doc: $doc,
                parts: $crate::syntax::table::table!(@parts $type [$($($part)+)?] [$($parts)?]),
                groups: &[$($($crate::syntax::table::table!(@group $need $group)),+)?],
                others: $crate::syntax::table::table!(@option $($others)?),
                tag: $crate::syntax::table::table!(@option $($crate::syntax::key::Tag {
                    key: "to",
                    word: $word,
                    words: || vec![$word],
                    example: concat!("\"", $word, "\""),
                })?),
            };
        }
    };
    (@parts $type:ident [] []) => { &[$type::ROWS] };
    (@parts $type:ident [$($part:ident)+] []) => { &[$($part::ROWS),+] };
    (@parts $type:ident [] [$parts:path]) => { &$parts };
    (@group needed $group:ident) => { $crate::syntax::table::table!(@group true, $group) };
    (@group optional $group:ident) => { $crate::syntax::table::table!(@group false, $group) };
    (@group $needed:literal, $group:ident) => {
        $crate::syntax::key::Group { needed: $needed, keys: <$group as $crate::syntax::row::OneOf>::keys }
    };
    (@option) => { None };
    (@option $some:expr) => { Some($some) };
}

/// Keys of some rows that exclude each other, as an enum.
macro_rules! one_of {
    ($(#[$doc:meta])* $type:ident of $rows:ident { $($variant:ident: $name:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $(#[doc = concat!("`", stringify!($name), "`")] $variant,)+
        }

        impl $crate::syntax::row::OneOf for $type {
            fn all() -> Vec<(&'static $crate::syntax::key::Key, Self)> {
                vec![$((&$rows.$name.key, Self::$variant)),+]
            }
        }
    };
}

pub(crate) use {one_of, table};
