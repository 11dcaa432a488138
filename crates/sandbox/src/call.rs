//! System calls as data: which, and with which arguments.

use syscalls::Sysno;

/// The most conditions of one [`Call`].
const MAX_ARGUMENTS: usize = 3;

/// A system call that is allowed, with all arguments or with some.
///
/// Several of the same number stand beside each other: one that fits is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    number: Sysno,
    arguments: [Option<Argument>; MAX_ARGUMENTS],
}

impl Call {
    /// `number` with any arguments.
    pub const fn any(number: Sysno) -> Self {
        Self {
            number,
            arguments: [None; MAX_ARGUMENTS],
        }
    }

    /// Only where `argument` holds too. There can be three; a fourth takes the place of the third.
    #[must_use]
    pub const fn with(self, argument: Argument) -> Self {
        let [first, second, _] = self.arguments;
        let arguments = match (first, second) {
            (None, _) => [Some(argument), None, None],
            (first, None) => [first, Some(argument), None],
            (first, second) => [first, second, Some(argument)],
        };
        Self { arguments, ..self }
    }

    /// Its number.
    pub const fn number(&self) -> Sysno {
        self.number
    }

    /// Whether any arguments are allowed.
    pub fn is_unconditional(&self) -> bool {
        self.arguments.iter().all(Option::is_none)
    }

    pub(crate) fn arguments(&self) -> impl Iterator<Item = &Argument> {
        self.arguments.iter().flatten()
    }
}

/// A condition on one argument of a system call, of which the low 32 bits count: those are all that the kernel has
/// of an `int`, a request of ioctl(2) or the flags of mmap(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    pub(crate) index: u8,
    pub(crate) mask: u32,
    pub(crate) value: u32,
    pub(crate) is_equal: bool,
}

impl Argument {
    /// The argument at `index`, from 0 to 5, is `value`.
    pub const fn equal(index: u8, value: u32) -> Self {
        Self::masked(index, u32::MAX, value)
    }

    /// It is not `value`.
    pub const fn not_equal(index: u8, value: u32) -> Self {
        Self {
            index,
            mask: u32::MAX,
            value,
            is_equal: false,
        }
    }

    /// Its bits in `mask` are those of `value`.
    pub const fn masked(index: u8, mask: u32, value: u32) -> Self {
        Self {
            index,
            mask,
            value,
            is_equal: true,
        }
    }
}

/// `numbers` with any arguments.
pub const fn calls<const N: usize>(numbers: [Sysno; N]) -> [Call; N] {
    let mut calls = [Call::any(Sysno::read); N];
    let mut rest: (&[Sysno], &mut [Call]) = (&numbers, &mut calls);
    while let ([number, numbers @ ..], [call, calls @ ..]) = rest {
        *call = Call::any(*number);
        rest = (numbers, calls);
    }
    calls
}

/// The name of a system call; `None` for a number that none has. It can be called from a handler of a signal.
pub fn call_name(number: i32) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    Sysno::new(number).map(|number| number.name())
}
