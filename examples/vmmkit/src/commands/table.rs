//! Text in columns.

/// A table of `N` columns.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with a heading.
    pub(super) fn new(heading: [&str; N]) -> Self {
        Self {
            rows: vec![heading.map(str::to_owned)],
        }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The table: each column as wide as its widest cell, and two spaces between them.
    pub(super) fn text(&self) -> String {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(widths);
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
            let line: Vec<String> = cells.collect();
            text.push_str(line.join("  ").trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut table = Table::new(["NAME", "STATE"]);
        table.row(["a".to_owned(), "running".to_owned()]);
        table.row(["longer".to_owned(), String::new()]);
        assert_eq!(table.text(), "NAME    STATE\na       running\nlonger\n");
    }
}
