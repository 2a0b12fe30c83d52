//! Sets of bits: flags of frames, of which a sender may use those that are known, and features, of which it may have
//! others.

/// What every set of bits can do.
macro_rules! bit_set {
    ($vis:vis $name:ident) => {
        impl $name {
            /// Whether all bits of `other` are set.
            $vis const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Both together.
            #[must_use]
            $vis const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Without the bits of `other`.
            #[must_use]
            $vis const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }
    };
}

/// A byte of flags: its bits, and that the others are reserved.
macro_rules! flags {
    ($(#[$about:meta])* $vis:vis struct $name:ident { $($(#[$what:meta])* $flag:ident = $bit:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        $vis struct $name(u8);

        impl $name {
            $($(#[$what])* $vis const $flag: Self = Self(1 << $bit);)+

            /// The flags of a byte that a peer sent, as a part of `field`.
            const fn decode(byte: u8, field: &'static str) -> Result<Self, $crate::DecodeError> {
                const KNOWN: u8 = 0 $(| 1 << $bit)+;
                if byte & !KNOWN == 0 { Ok(Self(byte)) } else { Err($crate::DecodeError::invalid(field, "are reserved")) }
            }
        }

        $crate::bits::bit_set!($vis $name);
    };
}

pub(crate) use {bit_set, flags};

#[cfg(test)]
mod tests {
    flags! {
        /// Two bits, and one between them that is reserved.
        struct Pair {
            /// The first.
            LOW = 0,
            /// The third.
            HIGH = 2,
        }
    }

    #[test]
    fn reserved_bits_are_refused_and_the_others_kept() {
        for byte in 0..=u8::MAX {
            let known = byte & !0b101 == 0;
            assert_eq!(Pair::decode(byte, "flags").ok(), known.then_some(Pair(byte)));
        }
    }

    #[test]
    fn sets_are_joined_and_parted() {
        let both = Pair::LOW.with(Pair::HIGH);
        assert!(both.contains(Pair::LOW) && both.contains(Pair::HIGH) && both.contains(both));
        assert!(!Pair::LOW.contains(both) && Pair::LOW.contains(Pair::default()));
        assert_eq!(both.without(Pair::LOW), Pair::HIGH);
    }
}
