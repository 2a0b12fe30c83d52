use crate::{DecodeError, MAX_GROUP, MAX_METADATA_BYTES, MAX_NAME, MAX_REALM, MAX_SERVICE, MAX_TOPIC};

/// Checks the name of a realm: 1 to [`MAX_REALM`] bytes, no control characters.
///
/// For configuration and command lines; decoding a [`crate::Hello`] does it by itself.
pub fn check_realm(realm: &str) -> Result<(), DecodeError> {
    check("realm", realm, 1, MAX_REALM)
}

/// Checks a client's or node's name for people: at most [`MAX_NAME`] bytes, no control characters, which would reach
/// the terminal of whoever lists the clients.
pub fn check_name(name: &str) -> Result<(), DecodeError> {
    check("name", name, 0, MAX_NAME)
}

/// Checks the name of a queue group: 1 to [`MAX_GROUP`] bytes, no control characters.
pub fn check_group(group: &str) -> Result<(), DecodeError> {
    check("queue group", group, 1, MAX_GROUP)
}

/// Checks the region label of a node: at most [`MAX_NAME`] bytes, no control characters.
pub fn check_region(region: &str) -> Result<(), DecodeError> {
    check("region", region, 0, MAX_NAME)
}

/// Bounds the name of a service; that it is a topic name is checked where names are understood.
pub(crate) fn check_service(name: &str) -> Result<(), DecodeError> {
    check("service name", name, 1, MAX_SERVICE)
}

pub(crate) fn check_prefix(prefix: &str) -> Result<(), DecodeError> {
    check("service prefix", prefix, 0, MAX_SERVICE)
}

/// Bounds a topic; that it is a name is checked where names are understood.
pub(crate) fn check_topic(topic: &str) -> Result<(), DecodeError> {
    check("topic", topic, 1, MAX_TOPIC)
}

pub(crate) fn check_key(key: &str) -> Result<(), DecodeError> {
    check("metadata key", key, 1, MAX_NAME)
}

pub(crate) fn check_value(value: &str) -> Result<(), DecodeError> {
    check("metadata value", value, 0, MAX_METADATA_BYTES)
}

/// Bounds a text that is only shown.
pub(crate) fn check_text(field: &'static str, text: &str, longest: usize) -> Result<(), DecodeError> {
    check(field, text, 0, longest)
}

fn check(field: &'static str, text: &str, shortest: usize, longest: usize) -> Result<(), DecodeError> {
    if text.len() < shortest {
        return Err(DecodeError::invalid(field, "is empty"));
    }
    if text.len() > longest {
        return Err(DecodeError::TooLong { field, actual: text.len(), allowed: longest });
    }
    if text.chars().any(char::is_control) {
        return Err(DecodeError::invalid(field, "has a control character"));
    }
    Ok(())
}
