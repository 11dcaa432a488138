//! `--memory`: how much RAM, and from where.

use std::fs;
use std::path::Path;

use vmmkit_guest_memory::{Backing, RamConfig, RamError, RamSize, RamSizeError, ThpAdvice};

use crate::devices::{Words, words};
use crate::failure::Failure;

const SIZES: &str = "give a whole number with a unit K, M, G or T, such as --memory 256M";
const BACKENDS: &str = "give backend=anon, memfd, hugetlb, hugetlb=1G or file=PATH";
const KEYS: &str = "there are SIZE, max=SIZE, backend=anon|memfd|hugetlb[=2M|1G]|file=PATH, prefault, \
     thp=on|off, merge and dump=on";
/// What Linux plugs at a time: a section of its memory map (SECTION_SIZE_BITS of x86-64). A part of one
/// at the end would never be used.
const SECTION: u64 = 128 << 20;
/// Of the machine's own huge pages, the size that most hosts have.
const HUGE_PAGE: u64 = 2 << 20;

/// The RAM that `text` asks for; without one the default. `is_shared` says that another process must
/// see it.
pub(crate) fn parse(text: Option<&str>, is_shared: bool) -> Result<RamConfig, Failure> {
    let mut config = RamConfig::default();
    if is_shared {
        config.backing = Backing::Memfd;
    }
    let Some(text) = text else {
        return Ok(config);
    };
    let mut words = Words::new("--memory", text);
    match words.bare_first() {
        Some(word) => config.size = size(text, word)?,
        None if text.is_empty() => config.size = size(text, text)?,
        None => {}
    }
    if let Some(value) = words.value("backend")? {
        config.backing = backing(value)
            .ok_or_else(|| words.wrong(&format!("there is no backend {value}"), BACKENDS))?;
        if is_shared && config.backing == Backing::Anonymous {
            let reason = "a device of another process must see the guest's memory";
            return Err(words.wrong(reason, "give backend=memfd, or leave backend out"));
        }
    }
    config.max = words
        .value("max")?
        .map(|value| max(&words, value, &config))
        .transpose()?;
    let thp = words.parsed("thp", "on or off", words::switch)?;
    config.thp = match thp {
        Some(_) if matches!(config.backing, Backing::HugeTlb(_)) => {
            let reason = "thp is for memory whose pages are not huge already";
            return Err(words.wrong(reason, "leave thp out, or backend=hugetlb"));
        }
        Some(true) => ThpAdvice::Always,
        Some(false) => ThpAdvice::Never,
        None => ThpAdvice::Host,
    };
    config.dump = words
        .parsed("dump", "on or off", words::switch)?
        .unwrap_or(false);
    config.prefault = words.flag("prefault")?;
    config.merge = words.flag("merge")?;
    if config.merge && config.backing != Backing::Anonymous {
        let reason = "the host merges pages of anonymous memory only";
        return Err(words.wrong(reason, "leave merge out, or give backend=anon"));
    }
    words.end(KEYS)?;
    Ok(config)
}

/// How much the RAM of `config` may become.
fn max(words: &Words<'_>, value: &str, config: &RamConfig) -> Result<RamSize, Failure> {
    let size = config.size;
    if let Some(meant) = with_unit(value) {
        let reason = format!("max={value} is {value} bytes: did you mean max={meant}?");
        return Err(words.wrong(&reason, SIZES));
    }
    let max = value
        .parse::<RamSize>()
        .map_err(|_| words.wrong(&format!("max={value} is not a size"), SIZES))?;
    let more = max
        .bytes()
        .checked_sub(size.bytes())
        .filter(|more| *more > 0);
    let Some(more) = more else {
        let reason = format!("max={value} is not more than the {size} from the start");
        return Err(words.wrong(&reason, "give a larger max, or leave it out"));
    };
    if !more.is_multiple_of(SECTION) {
        let possible = size.bytes() + (more - more % SECTION).max(SECTION);
        let possible = RamSize::new(possible).map_or(value.to_owned(), |size| size.to_string());
        let reason = format!("what max={value} adds to {size} is not a multiple of 128M");
        return Err(words.wrong(&reason, &format!("give max={possible}, for instance")));
    }
    if !matches!(config.backing, Backing::Anonymous | Backing::Memfd) {
        let reason = "memory is plugged from backend=anon or memfd only";
        return Err(words.wrong(reason, "leave max out, or that backend"));
    }
    Ok(max)
}

/// What was meant by `word`, a number without a unit: other programs have mebibytes where it would be
/// bytes here, and so few are of no use.
pub(crate) fn with_unit(word: &str) -> Option<String> {
    let number: u64 = word.parse().ok()?;
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && (1..1 << 20).contains(&number)).then(|| format!("{number}M"))
}

fn size(text: &str, word: &str) -> Result<RamSize, Failure> {
    if let Some(meant) = with_unit(word) {
        return Err(Failure::usage(
            format!("--memory {text}: {word} bytes of memory are too few: did you mean {meant}?"),
            SIZES,
        ));
    }
    word.parse().map_err(|error| {
        let text = if text.is_empty() { "\"\"" } else { text };
        let reason = match &error {
            RamSizeError::Zero => "a guest needs memory".to_owned(),
            RamSizeError::Syntax(_) => "this is not a size".to_owned(),
            RamSizeError::Fraction(_) => "this is not a whole number".to_owned(),
            RamSizeError::Negative(_) => "this is negative".to_owned(),
            RamSizeError::TooLarge(_) => "this is larger than any memory".to_owned(),
            other => other.to_string(),
        };
        Failure::usage(format!("--memory {text}: {reason}"), SIZES)
    })
}

fn backing(text: &str) -> Option<Backing> {
    match text.split_once('=') {
        Some(("file", path)) if !path.is_empty() => Some(Backing::File(words::path(path))),
        Some(("hugetlb", size)) => Some(Backing::HugeTlb(size.parse::<RamSize>().ok()?.bytes())),
        Some(_) => None,
        None => match text {
            "anon" => Some(Backing::Anonymous),
            "memfd" => Some(Backing::Memfd),
            "hugetlb" => Some(Backing::HugeTlb(HUGE_PAGE)),
            _ => None,
        },
    }
}

/// `config` as the option's value.
pub(crate) fn text(config: &RamConfig) -> String {
    let mut words = vec![config.size.to_string()];
    words.extend(config.max.map(|max| format!("max={max}")));
    match &config.backing {
        Backing::Anonymous => {}
        Backing::Memfd => words.push("backend=memfd".to_owned()),
        Backing::File(path) => words.push(format!("backend=file={}", words::of_path(path))),
        Backing::HugeTlb(size) => match RamSize::new(*size) {
            Ok(size) => words.push(format!("backend=hugetlb={size}")),
            Err(_) => words.push(format!("backend=hugetlb={size}")),
        },
    }
    match config.thp {
        ThpAdvice::Host => {}
        ThpAdvice::Always => words.push("thp=on".to_owned()),
        ThpAdvice::Never => words.push("thp=off".to_owned()),
    }
    for (is_on, word) in [
        (config.prefault, "prefault"),
        (config.merge, "merge"),
        (config.dump, "dump=on"),
    ] {
        if is_on {
            words.push(word.to_owned());
        }
    }
    words.join(",")
}

/// `text` of a file in `folder`, whose paths are relative to that.
pub(crate) fn in_folder(text: &str, folder: &Path) -> String {
    let words =
        words::split(text)
            .into_iter()
            .map(|word| match word.strip_prefix("backend=file=") {
                Some(path) => {
                    let path = folder.join(words::path(path));
                    format!("backend=file={}", words::of_path(&path))
                }
                None => word.to_owned(),
            });
    words.collect::<Vec<_>>().join(",")
}

/// What to do where RAM cannot be had.
pub(crate) fn advice(error: &RamError) -> String {
    match error {
        RamError::HugePages {
            needed,
            free,
            reserve,
            ..
        } => {
            let text = fs::read_to_string(reserve).unwrap_or_default();
            let pages: u64 = text.trim().parse().unwrap_or(0);
            let pages = pages.saturating_add(needed.saturating_sub(*free));
            format!(
                "reserve them (`echo {pages} | sudo tee {reserve}`), or leave backend=hugetlb out"
            )
        }
        RamError::NoHugePages { .. } | RamError::HugePageSize { .. } => {
            "give backend=hugetlb=2M or hugetlb=1G, as /sys/kernel/mm/hugepages has them".to_owned()
        }
        RamError::HugePageMultiple { page_size, .. } => {
            let unit = RamSize::new(*page_size).map_or(String::new(), |size| size.to_string());
            format!("ask for a multiple of {unit}, or leave backend=hugetlb out")
        }
        RamError::File { .. } | RamError::NotAFile { .. } => {
            "check the path, its permissions and the room on its file system".to_owned()
        }
        RamError::FileInUse { .. } => "end that guest, or give another file".to_owned(),
        RamError::FileSize { .. } => {
            "give the path of a new file, or --memory with the size of that one".to_owned()
        }
        RamError::Merge(_) => "leave merge out, or use a kernel with CONFIG_KSM".to_owned(),
        _ => "ask for less with --memory, or free memory of the host".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> RamConfig {
        parse(Some(text), false).unwrap()
    }

    fn refused(text: &str, is_shared: bool) -> String {
        parse(Some(text), is_shared).unwrap_err().text()
    }

    #[test]
    fn what_is_written_reads_back() {
        for line in [
            "256M",
            "4G,backend=memfd",
            "1G,backend=hugetlb=2M",
            "2G,backend=hugetlb=1G,prefault",
            "512M,backend=file=ram.img,thp=off,prefault,dump=on",
            "64M,thp=on,merge",
            "256M,max=1G",
            "256M,max=384M,backend=memfd,prefault",
        ] {
            assert_eq!(text(&parsed(line)), line);
        }
        assert_eq!(parsed("1G,backend=anon"), parsed("1G"));
        assert_eq!(
            parsed("1G,backend=hugetlb"),
            parsed("1G,backend=hugetlb=2M")
        );
    }

    #[test]
    fn a_back_end_without_a_size_gets_the_default() {
        let config = parsed("backend=memfd,prefault");
        assert_eq!(config.size, RamConfig::default().size);
        assert_eq!((config.backing, config.prefault), (Backing::Memfd, true));
    }

    #[test]
    fn ram_that_another_process_sees_is_a_memfd_unless_it_has_a_file_anyway() {
        assert_eq!(parse(None, true).unwrap().backing, Backing::Memfd);
        assert_eq!(parse(Some("1G"), true).unwrap().backing, Backing::Memfd);
        let huge = parse(Some("1G,backend=hugetlb"), true).unwrap();
        assert_eq!(huge.backing, Backing::HugeTlb(2 << 20));
        assert!(refused("1G,backend=anon", true).contains("must see the guest's memory"));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, reason) in [
            ("1G,backend=disk", "there is no backend disk"),
            ("1G,backend=file=", "there is no backend file="),
            ("1G,backend=hugetlb=x", "there is no backend hugetlb=x"),
            ("1G,thp=maybe", "thp=maybe is not on or off"),
            ("1G,backend=hugetlb,thp=on", "thp is for memory whose pages"),
            (
                "1G,backend=memfd,merge",
                "merges pages of anonymous memory only",
            ),
            ("1G,max=x", "max=x is not a size"),
            ("1G,max=4096", "did you mean max=4096M?"),
            (
                "4096",
                "4096 bytes of memory are too few: did you mean 4096M?",
            ),
            ("16384,merge", "did you mean 16384M?"),
            ("1G,max=1G", "max=1G is not more than the 1G from the start"),
            ("max=128M", "max=128M is not more than the 256M"),
            ("200M,max=1G", "give max=968M, for instance"),
            ("200M,max=201M", "give max=328M, for instance"),
            (
                "1G,max=2G,backend=hugetlb",
                "plugged from backend=anon or memfd",
            ),
            ("1G,fast", "there is no fast"),
            ("1G,2G", "there is no 2G"),
        ] {
            let text = refused(text, false);
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn the_file_of_a_configuration_lies_beside_it() {
        let moved = |text| in_folder(text, Path::new("/vm"));
        assert_eq!(moved("1G,backend=file=ram"), "1G,backend=file=/vm/ram");
        assert_eq!(moved("1G,backend=file=/ram"), "1G,backend=file=/ram");
    }
}
