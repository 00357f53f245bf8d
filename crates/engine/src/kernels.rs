//! The loops that take the time, one file an instruction set, behind one safe face.
//!
//! `scalar` says what each kernel computes; the others must equal it bit for bit, which they can in
//! any order because every sum is an exact integer. This is the only place in the tree with `unsafe`
//! for speed.
//!
//! Invariants:
//! - For validated weights, every instruction set, tile and thread count gives the same bits.
//!
//! Not here: the order of steps (`forward`), and element formulas (`numeric`).

pub mod activations;
#[cfg(target_arch = "x86_64")]
mod ahead;
pub mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod element;
pub mod field;
pub mod hash;
pub mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(feature = "std")]
mod pool;
pub mod rows;
mod scalar;
#[cfg(not(feature = "std"))]
mod serial;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(feature = "std")]
pub use pool::{Pool, THREADS_MAX, per_thread};
#[cfg(not(feature = "std"))]
pub use serial::{Pool, THREADS_MAX, per_thread};

/// An instruction set with kernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// The reference: plain loops, any machine.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ and VNNI.
    Avx512,
    /// WebAssembly with 128-bit SIMD (never the relaxed form).
    Simd128,
    /// aarch64, little endian, which always has NEON; `sdot` is used where it is there.
    Neon,
}

impl Isa {
    /// Every instruction set, slowest first.
    pub const ALL: [Isa; 5] = [Isa::Scalar, Isa::Simd128, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// The name that `--isa` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Simd128 => "simd128",
            Isa::Neon => "neon",
        }
    }

    /// Whether this machine has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Scalar => true,
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Isa::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Isa::Avx512 => {
                std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vnni")
                    && std::arch::is_x86_feature_detected!("avx2")
            }
            Isa::Simd128 => cfg!(all(target_arch = "wasm32", target_feature = "simd128")),
            Isa::Neon => cfg!(all(target_arch = "aarch64", target_endian = "little")),
            #[cfg(not(all(target_arch = "x86_64", feature = "std")))]
            _ => false,
        }
    }

    /// The fastest that this machine has.
    #[must_use]
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Scalar)
    }
}

/// Compiles one integer body for each instruction set and chooses by `isa` at run time.
macro_rules! per_isa {
    ($(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)?) => {
        $(#[$doc])*
        $vis fn $name(isa: $crate::kernels::Isa, $($arg: $type),*) $(-> $out)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx2")]
                fn wide($($arg: $type),*) $(-> $out)? {
                    $body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn narrow($($arg: $type),*) $(-> $out)? {
                    $body($($arg),*)
                }
                assert!(isa.is_available(), "the engine chose an instruction set that is here");
                match isa {
                    // SAFETY: just checked to be available.
                    $crate::kernels::Isa::Avx512 => return unsafe { wide($($arg),*) },
                    // SAFETY: just checked to be available.
                    $crate::kernels::Isa::Avx2 => return unsafe { narrow($($arg),*) },
                    _ => {}
                }
            }
            let _ = isa;
            $body($($arg),*)
        }
    };
}
pub(crate) use per_isa;
