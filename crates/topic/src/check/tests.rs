use proptest::prelude::*;

use super::*;
use crate::{Pattern, Topic};

fn topic_error(name: &str) -> NameError {
    let error = validate_topic(name).expect_err("an invalid topic");
    assert_eq!(Topic::parse(name), Err(error.clone()));
    error
}

fn pattern_error(name: &str) -> NameError {
    Pattern::parse(name).expect_err("an invalid pattern")
}

/// Asserts an error and its words.
#[track_caller]
fn says(error: NameError, expected: NameError, words: &str) {
    assert_eq!(error, expected);
    assert_eq!(error.to_string(), words);
}

#[test]
fn empty() {
    says(topic_error(""), NameError::Empty, "name is empty");
    assert_eq!(pattern_error(""), NameError::Empty);
}

#[test]
fn too_long() {
    let longest = "a".repeat(MAX_NAME_BYTES);
    assert_eq!(validate_topic(&longest), Ok(()));
    assert!(Pattern::parse(&longest).is_ok());
    let name = "a".repeat(600);
    says(topic_error(&name), NameError::TooLong { bytes: 600 }, "name is 600 bytes, the limit is 512");
    assert_eq!(pattern_error(&name), NameError::TooLong { bytes: 600 });
    // Bytes, not characters.
    assert_eq!(topic_error(&"ü".repeat(257)), NameError::TooLong { bytes: 514 });
}

#[test]
fn too_many_tokens() {
    for token in ["a", "ü", "temperature"] {
        let most = vec![token; MAX_TOKENS].join(".");
        assert_eq!(validate_topic(&most), Ok(()));
        let name = format!("{most}.{token}");
        says(topic_error(&name), NameError::TooManyTokens { tokens: 33 }, "name has 33 tokens, the limit is 32");
        assert_eq!(pattern_error(&name), NameError::TooManyTokens { tokens: 33 });
    }
}

#[test]
fn empty_token() {
    says(topic_error("a..b"), NameError::EmptyToken { at: 2, token: 2 }, "token 2 at byte 2 is empty");
    for (name, at, token) in [(".", 0, 1), (".a", 0, 1), ("a.", 2, 2), ("ü.", 3, 2), ("seven77.", 8, 2)] {
        assert_eq!(topic_error(name), NameError::EmptyToken { at, token }, "{name}");
        assert_eq!(pattern_error(name), NameError::EmptyToken { at, token }, "{name}");
    }
    // The two dots meet at the end of one word and the start of the next.
    assert_eq!(topic_error("seven77..b"), NameError::EmptyToken { at: 8, token: 2 });
    assert_eq!(pattern_error("*..>"), NameError::EmptyToken { at: 2, token: 2 });
}

#[test]
fn white_space() {
    says(
        topic_error("a.b c"),
        NameError::WhiteSpace { at: 3, token: 2, character: ' ' },
        "white space ' ' at byte 3 in token 2",
    );
    for character in ['\t', '\n', '\u{a0}', '\u{2003}', '\u{3000}'] {
        let expected = NameError::WhiteSpace { at: 3, token: 1, character };
        assert_eq!(topic_error(&format!("aü{character}")), expected);
        assert_eq!(pattern_error(&format!("aü{character}.>")), expected);
    }
}

#[test]
fn control_character() {
    says(
        topic_error("a.\0"),
        NameError::ControlCharacter { at: 2, token: 2, character: '\0' },
        "control character '\\0' at byte 2 in token 2",
    );
    for character in ['\u{1b}', '\u{7f}', '\u{80}'] {
        let expected = NameError::ControlCharacter { at: 0, token: 1, character };
        assert_eq!(topic_error(&character.to_string()), expected);
        assert_eq!(pattern_error(&character.to_string()), expected);
    }
}

#[test]
fn wildcard_in_topic() {
    says(
        topic_error("a.*"),
        NameError::WildcardInTopic { at: 2, token: 2, wildcard: '*' },
        "wildcard '*' at byte 2 in token 2: a topic has none",
    );
    assert_eq!(topic_error("a.b>"), NameError::WildcardInTopic { at: 3, token: 2, wildcard: '>' });
}

#[test]
fn wildcard_inside_token() {
    says(
        pattern_error("a.b*.c"),
        NameError::WildcardInsideToken { at: 3, token: 2, wildcard: '*' },
        "wildcard '*' at byte 3 in token 2: it must be the whole token",
    );
    for (name, wildcard) in [("**", '*'), (">>", '>'), ("*>", '*'), (">b", '>')] {
        assert_eq!(pattern_error(name), NameError::WildcardInsideToken { at: 0, token: 1, wildcard }, "{name}");
    }
}

#[test]
fn rest_not_last() {
    says(
        pattern_error("a.>.b"),
        NameError::RestNotLast { at: 2, token: 2 },
        "wildcard '>' at byte 2 is token 2: it must be the last",
    );
    assert_eq!(pattern_error(">.>"), NameError::RestNotLast { at: 0, token: 1 });
    assert_eq!(pattern_error("a.>."), NameError::RestNotLast { at: 2, token: 2 });
}

#[test]
fn every_ascii_character_alone_and_in_every_place_of_a_word() {
    for byte in 0..=0x7f_u8 {
        let character = char::from(byte);
        let allowed = byte.is_ascii_graphic() && !matches!(byte, b'.' | b'*' | b'>');
        assert_eq!(validate_topic(&character.to_string()).is_ok(), allowed, "{character:?}");
        for before in 0..17 {
            let name = format!("{}{character}x", "y".repeat(before));
            let inner = allowed || byte == b'.' && before > 0;
            assert_eq!(validate_topic(&name).is_ok(), inner, "{name:?}");
            assert_eq!(is_plain_topic(name.as_bytes()), inner, "{name:?}");
        }
    }
}

/// Texts in which dots, wildcards and odd characters are frequent.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        12 => proptest::char::range('a', 'z'),
        4 => Just('.'),
        1 => proptest::sample::select(vec!['*', '>', ' ', '\t', '\u{7f}', '\u{85}', 'ü', '$', '~', '!']),
        1 => any::<char>(),
    ];
    proptest::collection::vec(character, 0..40).prop_map(String::from_iter)
}

/// The rules as one reads them in the documentation.
fn valid(name: &str, wildcards: bool) -> bool {
    let tokens: Vec<_> = name.split('.').collect();
    let plain = |token: &str| {
        !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>'))
    };
    name.len() <= 512
        && tokens.len() <= 32
        && tokens.iter().enumerate().all(|(index, token)| {
            plain(token) || wildcards && (*token == "*" || *token == ">" && index + 1 == tokens.len())
        })
}

proptest! {
    #[test]
    fn follows_the_rules(name in text()) {
        prop_assert_eq!(validate_topic(&name).is_ok(), valid(&name, false));
        prop_assert_eq!(validate_pattern(&name).is_ok(), valid(&name, true));
    }

    #[test]
    fn the_quick_path_agrees_with_the_thorough_one(name in "[a-c.]{0,80}") {
        prop_assert_eq!(is_plain_topic(name.as_bytes()), check(&name, Kind::Topic).is_ok());
    }

    #[test]
    fn the_quick_path_vouches_for_nothing_wrong(name in text()) {
        prop_assert!(!is_plain_topic(name.as_bytes()) || valid(&name, false));
    }
}
