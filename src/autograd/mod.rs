//! A custom backward pass: libtorch's graph calls a Rust closure for a gradient.
//!
//! tch can only record libtorch's operations. `function.cpp` has the few lines of C++ that put a closure into
//! the graph, through `torch::autograd::Function`; build.rs compiles it where it finds libtorch's headers,
//! and sets `cfg(recompute)`.
#![allow(unsafe_code, reason = "calls C++, and is called by it")]

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use crate::error::Result;

/// `y`, which was computed from `inputs` outside of the graph, as a function of them in the graph.
///
/// `backward(gradient, i)` is the gradient of `inputs[i]`, given that of `y`; an undefined tensor stands for
/// zeros. libtorch asks only for those that it needs, and only if `y` has a gradient. It passes that as it
/// is: expanded, or in any memory format.
///
/// - The result shares `y`'s memory. The graph keeps `backward` alive, and neither `y` nor `inputs`.
/// - A backward pass with `create_graph` records what `backward` does. If that is `with_backward` again,
///   there are gradients of any order.
/// - An error or a panic in `backward` becomes an error of the `Tensor::f_backward` that called it.
/// - libtorch may call `backward` any number of times, on any thread, and drops it along with the graph.
/// - Where no input needs a gradient, or under `no_grad`, `y` comes back as it is.
///
/// # Errors
///
/// libtorch's, if it cannot take `y` into the graph.
pub(crate) fn with_backward<const N: usize, F>(
    inputs: [&Tensor; N],
    y: Tensor,
    backward: F,
) -> Result<Tensor>
where
    F: Fn(&Tensor, usize) -> Result<Tensor> + Send + Sync + 'static,
{
    let inputs = inputs.map(Tensor::as_ptr);
    let closure = Closure {
        data: Box::into_raw(Box::new(backward)).cast(),
        call: call::<F>,
        drop: drop_box::<F>,
    };
    let mut error = String::new();
    // SAFETY: N tensors and one more, which outlive the call, and are only read. The closure is `Send` and
    // `Sync`, borrows nothing, and belongs to C++ from here on. `tell` gets the `String` that it expects.
    let result = unsafe {
        let error = (&raw mut error).cast();
        tch_dropout_with_backward(inputs.as_ptr(), N, y.as_ptr(), closure, tell, error)
    };
    if result.is_null() {
        return Err(TchError::Torch(error).into());
    }
    // SAFETY: a new `at::Tensor`, which nobody else has.
    Ok(unsafe { Tensor::from_ptr(result) })
}

unsafe extern "C" {
    fn tch_dropout_with_backward(
        inputs: *const *const C_tensor,
        count: usize,
        y: *const C_tensor,
        closure: Closure,
        tell: Tell,
        to: *mut c_void,
    ) -> *mut C_tensor;
}

/// Passes an error's text to the other language; only that one knows what `to` is.
type Tell = unsafe extern "C" fn(to: *mut c_void, text: *const c_char, length: usize);

/// A boxed closure whose type C++ needn't know.
#[repr(C)]
struct Closure {
    data: *mut c_void,
    /// Returns null after passing an error to `tell`.
    call: unsafe extern "C" fn(
        data: *const c_void,
        gradient: *const C_tensor,
        input: usize,
        tell: Tell,
        to: *mut c_void,
    ) -> *mut C_tensor,
    drop: unsafe extern "C" fn(data: *mut c_void),
}

unsafe extern "C" fn call<F>(
    data: *const c_void,
    gradient: *const C_tensor,
    input: usize,
    tell: Tell,
    to: *mut c_void,
) -> *mut C_tensor
where
    F: Fn(&Tensor, usize) -> Result<Tensor>,
{
    // A panic must not unwind into C++. Only the closure can see what it leaves half done.
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the box of an `F`, which lives until `drop_box` is called.
        let backward = unsafe { &*data.cast::<F>() };
        // SAFETY: a tensor that C++ holds during this call, and which is not freed here.
        let gradient = ManuallyDrop::new(unsafe { Tensor::from_ptr(gradient.cast_mut()) });
        backward(&gradient, input)
    }));
    let error = match result {
        Ok(Ok(tensor)) => return ManuallyDrop::new(tensor).as_mut_ptr(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("panic in a backward: {}", panic_text(&*panic)),
    };
    // SAFETY: what C++ gave for this; the text is copied.
    unsafe { tell(to, error.as_ptr().cast(), error.len()) };
    ptr::null_mut()
}

unsafe extern "C" fn drop_box<F>(data: *mut c_void) {
    // SAFETY: what `Box::into_raw` returned, and C++ calls this once. A panic would abort the process, as any
    // that leaves an `extern "C"` function does.
    drop(unsafe { Box::from_raw(data.cast::<F>()) });
}

unsafe extern "C" fn tell(to: *mut c_void, text: *const c_char, length: usize) {
    // SAFETY: `to` is the `String` of a `with_backward` that waits for C++ to return; the text has `length`
    // bytes.
    unsafe {
        let text = std::slice::from_raw_parts(text.cast(), length);
        *to.cast::<String>() = String::from_utf8_lossy(text).into_owned();
    }
}

/// The message of a `panic!`: a literal, or a formatted string.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref().map(String::as_str));
    text.unwrap_or("it has no text")
}

#[cfg(test)]
mod tests;
