//! Closed lists of words that settings choose from.

use crate::domain::{ProviderKind, Strategy, Window};

/// A closed list of values, each with the word that stands for it in the file.
pub trait Choice: Copy + 'static {
    /// Every value, in the order in which a message lists them.
    fn all() -> &'static [Self];
    /// The word for it.
    fn word(self) -> &'static str;
}

/// Makes an enum that is a [`Choice`].
macro_rules! choice_type {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[$variant_doc])* $variant),+ }

        impl $type {
            /// The word that stands for it in the file.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl $crate::config::choice::Choice for $type {
            fn all() -> &'static [Self] {
                &[$(Self::$variant),+]
            }
            fn word(self) -> &'static str {
                self.as_str()
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
}
pub(super) use choice_type;

impl Choice for ProviderKind {
    fn all() -> &'static [Self] {
        Self::ALL
    }
    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Choice for Strategy {
    fn all() -> &'static [Self] {
        Self::ALL
    }
    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Choice for Window {
    fn all() -> &'static [Self] {
        &Self::ALL
    }
    fn word(self) -> &'static str {
        self.as_str()
    }
}
