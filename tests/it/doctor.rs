//! TODO doctor
