//! Frames of the Sinew protocol: layout, codec, limits
