//! How C++ and Rust pass each other a text.

use std::ffi::{c_char, c_void};
use std::slice;

/// Passes a text to the other language; only that one knows what `to` is.
pub(super) type Tell = unsafe extern "C" fn(to: *mut c_void, text: *const c_char, length: usize);

/// Takes a text from C++, where `to` is a `String` that waits for the call to return.
pub(super) unsafe extern "C" fn tell(to: *mut c_void, text: *const c_char, length: usize) {
    // SAFETY: as said above; the text has `length` bytes.
    unsafe {
        let text = slice::from_raw_parts(text.cast(), length);
        *to.cast::<String>() = String::from_utf8_lossy(text).into_owned();
    }
}
