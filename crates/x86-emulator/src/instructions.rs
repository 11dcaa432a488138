//! The instructions, by family, and the table that finds them.
//!
//! One more is one line here, one function in a family's file, and its tests.

mod atomic;
mod avx;
mod cache;
mod fxsave;
mod integer;
mod interrupt;
mod mxcsr;
mod restore;
mod save;
mod segment_base;
mod shuffle;
mod sse;
mod system;
mod x87;
mod x87_environment;
mod x87_function;
mod x87_number;
mod x87_stack;
mod xcr;

use iced_x86::Mnemonic;

use crate::cpu::{Cpu, Run, Stop};
use crate::{ExtendedState, PhysicalMemory};

macro_rules! instructions {
    ($($name:ident $text:literal $function:ident;)*) => {
        /// An instruction that was completed. As a number (`as usize`) it counts from 0 to
        /// [`ALL`](Self::ALL)'s length, so that it can index counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Completed {
            $(#[doc = $text] $name,)*
        }

        impl Completed {
            /// All that the emulator completes, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The manual's name of it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        /// Whether the emulator completes instructions of that name, in 64-bit mode.
        pub(crate) fn is_known(mnemonic: Mnemonic) -> bool {
            matches!(mnemonic, $(Mnemonic::$name)|*)
        }

        impl<M: PhysicalMemory, E: ExtendedState> Cpu<'_, M, E> {
            /// Runs the decoded instruction; RIP is past it already.
            pub(crate) fn execute(&mut self) -> Run<E, Completed> {
                match self.instruction.mnemonic() {
                    $(Mnemonic::$name => self.$function().map(|()| Completed::$name),)*
                    _ => Err(Stop::Unsupported),
                }
            }
        }
    };
}

instructions! {
    Cmpxchg8b "CMPXCHG8B" cmpxchg8b;
    Cmpxchg16b "CMPXCHG16B" cmpxchg16b;
    Popcnt "POPCNT" popcnt;
    Crc32 "CRC32" crc32;
    Clac "CLAC" clac;
    Stac "STAC" stac;
    Int "INT n" int;
    Int1 "INT1" int1;
    Int3 "INT3" int3;
    Sysret "SYSRET" sysret;
    Sysretq "SYSRETQ" sysretq;
    Sysenter "SYSENTER" sysenter;
    Sysexit "SYSEXIT" sysexit;
    Sysexitq "SYSEXITQ" sysexitq;
    Rdpid "RDPID" rdpid;
    Rdfsbase "RDFSBASE" rdfsbase;
    Rdgsbase "RDGSBASE" rdgsbase;
    Wrfsbase "WRFSBASE" wrfsbase;
    Wrgsbase "WRGSBASE" wrgsbase;
    Wait "FWAIT" fwait;
    Fninit "FNINIT" fninit;
    Fnclex "FNCLEX" fnclex;
    Fnstcw "FNSTCW" fnstcw;
    Fldcw "FLDCW" fldcw;
    Fnstsw "FNSTSW" fnstsw;
    Emms "EMMS" emms;
    Fld "FLD" x87_load;
    Fild "FILD" x87_load;
    Fld1 "FLD1" x87_constant;
    Fldl2t "FLDL2T" x87_constant;
    Fldl2e "FLDL2E" x87_constant;
    Fldpi "FLDPI" x87_constant;
    Fldlg2 "FLDLG2" x87_constant;
    Fldln2 "FLDLN2" x87_constant;
    Fldz "FLDZ" x87_constant;
    Fst "FST" x87_store;
    Fstp "FSTP" x87_store;
    Fist "FIST" x87_store;
    Fistp "FISTP" x87_store;
    Fisttp "FISTTP" x87_store;
    Fadd "FADD" x87_arithmetic;
    Faddp "FADDP" x87_arithmetic;
    Fiadd "FIADD" x87_arithmetic;
    Fsub "FSUB" x87_arithmetic;
    Fsubp "FSUBP" x87_arithmetic;
    Fisub "FISUB" x87_arithmetic;
    Fsubr "FSUBR" x87_arithmetic;
    Fsubrp "FSUBRP" x87_arithmetic;
    Fisubr "FISUBR" x87_arithmetic;
    Fmul "FMUL" x87_arithmetic;
    Fmulp "FMULP" x87_arithmetic;
    Fimul "FIMUL" x87_arithmetic;
    Fdiv "FDIV" x87_arithmetic;
    Fdivp "FDIVP" x87_arithmetic;
    Fidiv "FIDIV" x87_arithmetic;
    Fdivr "FDIVR" x87_arithmetic;
    Fdivrp "FDIVRP" x87_arithmetic;
    Fidivr "FIDIVR" x87_arithmetic;
    Fcom "FCOM" x87_compare;
    Fcomp "FCOMP" x87_compare;
    Fcompp "FCOMPP" x87_compare;
    Ficom "FICOM" x87_compare;
    Ficomp "FICOMP" x87_compare;
    Fcomi "FCOMI" x87_compare;
    Fcomip "FCOMIP" x87_compare;
    Fucom "FUCOM" x87_compare;
    Fucomp "FUCOMP" x87_compare;
    Fucompp "FUCOMPP" x87_compare;
    Fucomi "FUCOMI" x87_compare;
    Fucomip "FUCOMIP" x87_compare;
    Ftst "FTST" x87_compare;
    Fabs "FABS" x87_unary;
    Fchs "FCHS" x87_unary;
    Frndint "FRNDINT" x87_unary;
    Fsqrt "FSQRT" x87_unary;
    Fprem "FPREM" x87_remainder;
    Fprem1 "FPREM1" x87_remainder;
    Fscale "FSCALE" x87_scale;
    Fxtract "FXTRACT" x87_take_apart;
    F2xm1 "F2XM1" x87_power;
    Fyl2x "FYL2X" x87_of_two;
    Fyl2xp1 "FYL2XP1" x87_of_two;
    Fpatan "FPATAN" x87_of_two;
    Fsin "FSIN" x87_trigonometry;
    Fcos "FCOS" x87_trigonometry;
    Fsincos "FSINCOS" x87_trigonometry;
    Fptan "FPTAN" x87_trigonometry;
    Fbld "FBLD" x87_load_decimal;
    Fbstp "FBSTP" x87_store_decimal;
    Fxch "FXCH" x87_exchange;
    Fcmovb "FCMOVB" x87_move;
    Fcmovbe "FCMOVBE" x87_move;
    Fcmove "FCMOVE" x87_move;
    Fcmovu "FCMOVU" x87_move;
    Fcmovnb "FCMOVNB" x87_move;
    Fcmovnbe "FCMOVNBE" x87_move;
    Fcmovne "FCMOVNE" x87_move;
    Fcmovnu "FCMOVNU" x87_move;
    Fxam "FXAM" x87_examine;
    Ffree "FFREE" x87_free;
    Ffreep "FFREEP" x87_free;
    Fincstp "FINCSTP" x87_turn;
    Fdecstp "FDECSTP" x87_turn;
    Fnop "FNOP" x87_nop;
    Fnstenv "FNSTENV" fnstenv;
    Fldenv "FLDENV" fldenv;
    Fnsave "FNSAVE" fnsave;
    Frstor "FRSTOR" frstor;
    Ldmxcsr "LDMXCSR" ldmxcsr;
    Stmxcsr "STMXCSR" stmxcsr;
    Fxsave "FXSAVE" fxsave;
    Fxsave64 "FXSAVE64" fxsave64;
    Fxrstor "FXRSTOR" fxrstor;
    Fxrstor64 "FXRSTOR64" fxrstor64;
    Xgetbv "XGETBV" xgetbv;
    Xsetbv "XSETBV" xsetbv;
    Xsave "XSAVE" xsave;
    Xsave64 "XSAVE64" xsave64;
    Xsaveopt "XSAVEOPT" xsaveopt;
    Xsaveopt64 "XSAVEOPT64" xsaveopt64;
    Xsavec "XSAVEC" xsavec;
    Xsavec64 "XSAVEC64" xsavec64;
    Xsaves "XSAVES" xsaves;
    Xsaves64 "XSAVES64" xsaves64;
    Xrstor "XRSTOR" xrstor;
    Xrstor64 "XRSTOR64" xrstor64;
    Xrstors "XRSTORS" xrstors;
    Xrstors64 "XRSTORS64" xrstors64;
    Lfence "LFENCE" fence;
    Mfence "MFENCE" fence;
    Sfence "SFENCE" fence;
    Clflush "CLFLUSH" flush;
    Clflushopt "CLFLUSHOPT" flush;
    Clwb "CLWB" flush;
    Vzeroupper "VZEROUPPER" vzeroupper;
    Vzeroall "VZEROALL" vzeroall;
    Vmovaps "VMOVAPS" move_vector_aligned;
    Vmovapd "VMOVAPD" move_vector_aligned;
    Vmovdqa "VMOVDQA" move_vector_aligned;
    Vmovntdqa "VMOVNTDQA" move_vector_aligned;
    Vmovntdq "VMOVNTDQ" move_vector_aligned;
    Vmovntps "VMOVNTPS" move_vector_aligned;
    Vmovntpd "VMOVNTPD" move_vector_aligned;
    Vmovups "VMOVUPS" move_vector_unaligned;
    Vmovupd "VMOVUPD" move_vector_unaligned;
    Vmovdqu "VMOVDQU" move_vector_unaligned;
    Vlddqu "VLDDQU" move_vector_unaligned;
    Movaps "MOVAPS" move_aligned;
    Movapd "MOVAPD" move_aligned;
    Movdqa "MOVDQA" move_aligned;
    Movntps "MOVNTPS" move_aligned;
    Movntpd "MOVNTPD" move_aligned;
    Movntdq "MOVNTDQ" move_aligned;
    Movntdqa "MOVNTDQA" move_aligned;
    Movups "MOVUPS" move_unaligned;
    Movupd "MOVUPD" move_unaligned;
    Movdqu "MOVDQU" move_unaligned;
    Lddqu "LDDQU" move_unaligned;
    Movd "MOVD" movd;
    Movq "MOVQ" movq;
    Andps "ANDPS" packed_and;
    Andpd "ANDPD" packed_and;
    Pand "PAND" packed_and;
    Andnps "ANDNPS" packed_and_not;
    Andnpd "ANDNPD" packed_and_not;
    Pandn "PANDN" packed_and_not;
    Orps "ORPS" packed_or;
    Orpd "ORPD" packed_or;
    Por "POR" packed_or;
    Xorps "XORPS" packed_xor;
    Xorpd "XORPD" packed_xor;
    Pxor "PXOR" packed_xor;
    Paddb "PADDB" paddb;
    Paddw "PADDW" paddw;
    Paddd "PADDD" paddd;
    Paddq "PADDQ" paddq;
    Psubb "PSUBB" psubb;
    Psubw "PSUBW" psubw;
    Psubd "PSUBD" psubd;
    Psubq "PSUBQ" psubq;
    Pcmpeqb "PCMPEQB" pcmpeqb;
    Pcmpeqw "PCMPEQW" pcmpeqw;
    Pcmpeqd "PCMPEQD" pcmpeqd;
    Pcmpgtb "PCMPGTB" pcmpgtb;
    Punpcklbw "PUNPCKLBW" punpcklbw;
    Punpcklwd "PUNPCKLWD" punpcklwd;
    Punpckldq "PUNPCKLDQ" punpckldq;
    Punpcklqdq "PUNPCKLQDQ" punpcklqdq;
    Punpckhbw "PUNPCKHBW" punpckhbw;
    Punpckhwd "PUNPCKHWD" punpckhwd;
    Punpckhdq "PUNPCKHDQ" punpckhdq;
    Punpckhqdq "PUNPCKHQDQ" punpckhqdq;
    Pshufb "PSHUFB" pshufb;
    Pshufd "PSHUFD" pshufd;
    Pshuflw "PSHUFLW" pshuflw;
    Pshufhw "PSHUFHW" pshufhw;
    Palignr "PALIGNR" palignr;
    Psllw "PSLLW" psllw;
    Pslld "PSLLD" pslld;
    Psllq "PSLLQ" psllq;
    Psrlw "PSRLW" psrlw;
    Psrld "PSRLD" psrld;
    Psrlq "PSRLQ" psrlq;
    Psraw "PSRAW" psraw;
    Psrad "PSRAD" psrad;
    Pslldq "PSLLDQ" pslldq;
    Psrldq "PSRLDQ" psrldq;
}
