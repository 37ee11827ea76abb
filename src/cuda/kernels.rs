//! The kernels of dropout.cu, each a module of PTX by itself.

use std::ffi::CStr;

use tch::Kind;

use crate::effect::Outcome;

macro_rules! kernels {
    ($($kernel:ident $name:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(super) enum Kernel {
            $($kernel),*
        }

        impl Kernel {
            pub(super) const ALL: &[Kernel] = &[$(Kernel::$kernel),*];

            pub(super) fn name(self) -> &'static CStr {
                c_string(match self {
                    $(Kernel::$kernel => concat!($name, "\0")),*
                })
            }

            /// What the driver compiles. `scripts/ptx.py` makes it.
            pub(super) fn ptx(self) -> &'static CStr {
                c_string(match self {
                    $(Kernel::$kernel => concat!(include_str!(concat!("ptx/", $name, ".ptx")), "\0")),*
                })
            }
        }
    };
}

kernels!(
    Mask8 "mask_8", Mask16 "mask_16", Mask32 "mask_32", Mask64 "mask_64",
    ProductF32 "product_f32", ProductF64 "product_f64", ProductF16 "product_f16", ProductBf16 "product_bf16",
    SumF32 "sum_f32", SumF64 "sum_f64", SumF16 "sum_f16", SumBf16 "sum_bf16",
    ShiftedF32 "shifted_f32", ShiftedF64 "shifted_f64", ShiftedF16 "shifted_f16", ShiftedBf16 "shifted_bf16",
    NormalF32 "normal_f32", NormalF64 "normal_f64", NormalF16 "normal_f16", NormalBf16 "normal_bf16",
);

fn c_string(text: &'static str) -> &'static CStr {
    CStr::from_bytes_with_nul(text.as_bytes()).expect("a 0 at the end, and nowhere else")
}

impl Kernel {
    /// That which writes a mask of this kind.
    pub(super) fn of_mask(outcome: Outcome, kind: Kind) -> Option<Kernel> {
        use Kind::*;
        match (outcome, kind) {
            (Outcome::Normal { .. }, _) => Kernel::of_product(outcome, kind, false),
            // A mask has two bit patterns: only their width matters.
            (_, Uint8 | Int8 | Bool) => Some(Kernel::Mask8),
            (_, Int16 | Half | BFloat16) => Some(Kernel::Mask16),
            (_, Int | Float) => Some(Kernel::Mask32),
            (_, Int64 | Double) => Some(Kernel::Mask64),
            _ => None,
        }
    }

    /// That which multiplies numbers of this kind, and adds a residual to them. None adds one where the mask adds
    /// something too, or has normal numbers: no layer does.
    pub(super) fn of_product(outcome: Outcome, kind: Kind, with_residual: bool) -> Option<Kernel> {
        let [f32, f64, f16, bf16] = match (outcome, with_residual) {
            (Outcome::Normal { .. }, false) => {
                [Kernel::NormalF32, Kernel::NormalF64, Kernel::NormalF16, Kernel::NormalBf16]
            }
            (Outcome::Bernoulli(affine), false) if affine.has_shift() => {
                [Kernel::ShiftedF32, Kernel::ShiftedF64, Kernel::ShiftedF16, Kernel::ShiftedBf16]
            }
            (Outcome::Bernoulli(affine), true) if !affine.has_shift() => {
                [Kernel::SumF32, Kernel::SumF64, Kernel::SumF16, Kernel::SumBf16]
            }
            (Outcome::Bernoulli(_), false) => {
                [Kernel::ProductF32, Kernel::ProductF64, Kernel::ProductF16, Kernel::ProductBf16]
            }
            _ => return None,
        };
        match kind {
            Kind::Float => Some(f32),
            Kind::Double => Some(f64),
            Kind::Half => Some(f16),
            Kind::BFloat16 => Some(bf16),
            _ => None,
        }
    }
}
