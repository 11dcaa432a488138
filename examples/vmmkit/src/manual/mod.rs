//! The manual: a page for each command (man(7)).

mod facts;
mod pages;

use std::fs;
use std::io;
use std::path::Path;

use clap_mangen::Man;

use crate::cli;
use crate::exit_code;
use crate::failure::Failure;
use facts::{ENVIRONMENT, FILES, KEYS};
use pages::Page;

/// A page, and the name of its file.
struct Rendered {
    file: String,
    text: Vec<u8>,
}

/// The page of a command, or that of vmmkit itself.
pub(crate) fn page(command: Option<&str>) -> Result<Vec<u8>, Failure> {
    let file = command.map_or("vmmkit.1".to_owned(), |name| format!("vmmkit-{name}.1"));
    let mut all = all()?.into_iter();
    let found = all.find(|page| page.file == file);
    found.map(|page| page.text).ok_or_else(|| {
        Failure::usage(
            format!(
                "man {}: there is no such command",
                command.unwrap_or_default()
            ),
            "`vmmkit --help` lists the commands",
        )
    })
}

/// Writes all pages to the folder `out`, which is made if it is not there.
pub(crate) fn write(out: &Path) -> Result<(), Failure> {
    let refused = |path: &Path, error: &io::Error| {
        let next = "give a folder that you can write in";
        Failure::host(&format!("--out {}", path.display()), error, next)
    };
    fs::create_dir_all(out).map_err(|error| refused(out, &error))?;
    for page in all()? {
        let path = out.join(&page.file);
        fs::write(&path, page.text).map_err(|error| refused(&path, &error))?;
    }
    Ok(())
}

fn all() -> Result<Vec<Rendered>, Failure> {
    let mut command = cli::command().disable_help_subcommand(true);
    command.build();
    let names: Vec<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let render = || -> io::Result<Vec<Rendered>> {
        let mut rendered = vec![Rendered {
            file: "vmmkit.1".to_owned(),
            text: main_page(&command, &names)?,
        }];
        for one in command.get_subcommands() {
            let page = pages::ALL
                .iter()
                .find(|page| page.command == one.get_name());
            rendered.push(Rendered {
                file: format!("vmmkit-{}.1", one.get_name()),
                text: command_page(one, page)?,
            });
        }
        Ok(rendered)
    };
    render().map_err(|error| Failure::host("man", &error, "please report this"))
}

/// When the manual was last changed.
const DATE: &str = "2026-11-29";

fn title(name: &str) -> String {
    let (name, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
    format!(".TH {name} 1 \"{DATE}\" \"vmmkit {version}\" \"vmmkit\"\n")
}

/// A page as formatters like it: the generator's definitions once for all sections, no white space at the end
/// of a line, and text of at most `WIDTH` columns.
fn finished(page: Vec<u8>) -> Vec<u8> {
    const WIDTH: usize = 78;
    let page = String::from_utf8_lossy(&page).into_owned();
    let mut text = String::from(".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n");
    let mut is_verbatim = false;
    let mut lines = page.lines().map(str::trim_end).peekable();
    while let Some(line) = lines.next() {
        match line {
            ".nf" => is_verbatim = true,
            ".fi" => is_verbatim = false,
            "" if !is_verbatim => continue,
            line if line.starts_with(".ie ") || line.starts_with(".el ") => continue,
            // One or the other begins a new line.
            ".br"
                if matches!(lines.peek(), Some(&".sp"))
                    || text.ends_with(".sp\n")
                    || text.ends_with(".br\n") =>
            {
                continue;
            }
            _ => {}
        }
        if is_verbatim || line.starts_with('.') || line.len() <= WIDTH {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        let mut width = 0;
        for word in line.split(' ') {
            // A word at the start of a line must not be taken for a request.
            let may_break = !word.starts_with(['.', '\'']);
            if width > 0 && width + 1 + word.len() > WIDTH && may_break {
                text.push('\n');
                width = 0;
            } else if width > 0 {
                text.push(' ');
                width += 1;
            }
            text.push_str(word);
            width += word.len();
        }
        text.push('\n');
    }
    text.into_bytes()
}

fn main_page(command: &clap::Command, names: &[&str]) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut text = title("vmmkit").into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    let mut more = String::from(".SH COMMANDS\n");
    for one in command.get_subcommands() {
        let about = one.get_about().map(ToString::to_string).unwrap_or_default();
        more.push_str(&entry(&format!("vmmkit-{}(1)", one.get_name()), &about));
    }
    more.push_str(&examples(pages::MAIN));
    more.push_str(&section("FILES", FILES));
    more.push_str(&section("ENVIRONMENT", ENVIRONMENT));
    more.push_str(&see_also(names));
    text.extend(more.into_bytes());
    Ok(finished(text))
}

fn command_page(command: &clap::Command, page: Option<&Page>) -> io::Result<Vec<u8>> {
    let name = format!("vmmkit-{}", command.get_name());
    let man = Man::new(command.clone());
    let mut text = title(&name).into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        let mut list = String::from(".SH COMMANDS\n");
        for one in command.get_subcommands() {
            let about = one.get_about().map(ToString::to_string).unwrap_or_default();
            list.push_str(&entry(one.get_name(), &about));
        }
        text.extend(list.into_bytes());
    }
    let mut more = String::new();
    if command.get_name() == "run" {
        more.push_str(&section("KEYS", KEYS));
        more.push_str(&verbatim("EXIT STATUS", exit_code::HELP.lines().skip(1)));
    } else {
        more.push_str(".SH \"EXIT STATUS\"\n");
        more.push_str(page.map_or(pages::STATUS, |page| page.status));
        more.push('\n');
    }
    more.push_str(&examples(page.map_or(&[], |page| page.examples)));
    more.push_str(&section("FILES", FILES));
    more.push_str(&section("ENVIRONMENT", ENVIRONMENT));
    more.push_str(&see_also(page.map_or(&[], |page| page.related)));
    text.extend(more.into_bytes());
    Ok(finished(text))
}

fn section(title: &str, entries: &[(&str, &str)]) -> String {
    let entries = entries.iter().map(|(name, what)| entry(name, what));
    format!(".SH \"{title}\"\n{}", entries.collect::<String>())
}

fn entry(name: &str, what: &str) -> String {
    format!(".TP\n\\fB{}\\fR\n{}\n", escaped(name), escaped(what))
}

fn examples(examples: &[(&str, &str)]) -> String {
    let one = |(what, command): &(&str, &str)| {
        format!(
            ".PP\n{}\n.PP\n.RS 4\n.nf\n$ {}\n.fi\n.RE\n",
            escaped(what),
            escaped(command)
        )
    };
    match examples.is_empty() {
        true => String::new(),
        // A paragraph right behind a heading would be one too many.
        false => {
            let all: String = examples.iter().map(one).collect();
            format!(
                ".SH EXAMPLES\n{}",
                all.strip_prefix(".PP\n").unwrap_or(&all)
            )
        }
    }
}

fn verbatim<'a>(title: &str, lines: impl Iterator<Item = &'a str>) -> String {
    let lines: String = lines.map(|line| format!("{}\n", escaped(line))).collect();
    format!(".SH \"{title}\"\n.nf\n{lines}.fi\n")
}

fn see_also(names: &[&str]) -> String {
    let mut all: Vec<String> = names
        .iter()
        .map(|name| format!("\\fBvmmkit\\-{}\\fR(1)", escaped(name)))
        .collect();
    all.insert(0, "\\fBvmmkit\\fR(1)".to_owned());
    format!(".SH \"SEE ALSO\"\n{}\n", all.join(",\n"))
}

/// Text for roff: no control line, no escape, and a hyphen that can be copied as one.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that no command has would never be shown.
    #[test]
    fn every_command_has_a_page_of_its_own() {
        let rendered = all().unwrap();
        let command = cli::command();
        for page in pages::ALL {
            assert!(
                command.find_subcommand(page.command).is_some(),
                "{}",
                page.command
            );
        }
        for one in command
            .get_subcommands()
            .filter(|one| one.get_name() != "help")
        {
            let name = one.get_name();
            let file = format!("vmmkit-{name}.1");
            let page = rendered.iter().find(|page| page.file == file);
            let text = String::from_utf8(page.unwrap().text.clone()).unwrap();
            assert_eq!(
                text.matches("\n.TH ").count() + usize::from(text.starts_with(".TH ")),
                1,
                "{name}"
            );
            for heading in [
                "EXAMPLES",
                "FILES",
                "ENVIRONMENT",
                "EXIT STATUS",
                "SEE ALSO",
            ] {
                let heading = [
                    format!("\n.SH {heading}\n"),
                    format!("\n.SH \"{heading}\"\n"),
                ];
                assert!(
                    heading.iter().any(|one| text.contains(one)),
                    "{name}: {heading:?}"
                );
            }
        }
    }
}
