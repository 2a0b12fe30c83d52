//! Who is in the realm and what they want: records, interest, epidemic, as one state machine without I/O.

#![warn(missing_docs)]
