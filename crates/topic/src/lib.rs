//! Topic names, patterns and the trie that matches one against the other
