//! TODO guest
