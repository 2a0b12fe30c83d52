//! An embeddable Sinew node: configuration, composition, ordered shutdown
