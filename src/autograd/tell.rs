//! How C++ and Rust pass each other a text.

use std::ffi::{c_char, c_void};
use std::slice;

/// Passes a text to the other language; only that one knows what `to` is.
pub(super) type Tell = unsafe extern "C" fn(to: *mut c_void, text: *const c_char, length: usize);

/// Takes a text from C++.
///
/// # Safety
///
/// `to` is the `String` that Rust passed to C++ with this function, and that nobody else uses until C++ returns; `text` has
/// `length` bytes, which nobody writes to meanwhile.
pub(super) unsafe extern "C" fn tell(to: *mut c_void, text: *const c_char, length: usize) {
    // SAFETY: function.cpp and segment.cpp call this with the `to` that came with it, a `String` that is borrowed for their
    // call, and with a text of theirs and its length.
    unsafe {
        let text = slice::from_raw_parts(text.cast(), length);
        *to.cast::<String>() = String::from_utf8_lossy(text).into_owned();
    }
}
