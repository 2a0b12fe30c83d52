//! Examples of the client SDK: see the files beside this one.
