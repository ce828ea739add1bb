//! From text to an expression. Every error says at which byte.

use super::{Column, Expr, FilterError, Literal, Op};
use crate::units::{Moment, parse_moment};

/// Deeper than anybody writes, and far from the end of the stack.
const DEPTH_MAX: usize = 64;

/// More than a command line holds of sense.
const BYTES_MAX: usize = 64 * 1024;

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    if text.len() > BYTES_MAX {
        return Err(error(BYTES_MAX, format!("longer than {BYTES_MAX} bytes")));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, end: text.len() };
    let expr = parser.any(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(Token::Close) => Err(error(parser.at(), "a `)` without its `(`")),
        Some(_) => Err(error(parser.at(), "expected `and`, `or` or the end")),
    }
}

fn error(at: usize, what: impl Into<String>) -> FilterError {
    FilterError { at, what: what.into() }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Literal(Literal),
    Op(Op),
    Open,
    Close,
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
}

impl Parser {
    fn any(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut list = vec![self.all(depth)?];
        while self.takes("or") {
            list.push(self.all(depth)?);
        }
        Ok(single_or(list, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let mut list = vec![self.not(depth)?];
        while self.takes("and") {
            list.push(self.not(depth)?);
        }
        Ok(single_or(list, Expr::All))
    }

    fn not(&mut self, depth: usize) -> Result<Expr, FilterError> {
        let at = self.at();
        if depth > DEPTH_MAX {
            return Err(error(at, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if self.takes("not") {
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.peek() == Some(&Token::Open) {
            self.next += 1;
            let inner = self.any(depth + 1)?;
            if self.peek() != Some(&Token::Close) {
                return Err(error(self.at(), format!("expected `)` to the `(` at byte {at}")));
            }
            self.next += 1;
            return Ok(inner);
        }
        self.test()
    }

    fn test(&mut self) -> Result<Expr, FilterError> {
        let at = self.at();
        let column = match self.peek() {
            Some(Token::Word(word)) if !is_keyword(word) => Column { name: word.clone(), at },
            Some(Token::Literal(_)) => {
                return Err(error(at, "expected a column: it stands left of the comparison"));
            }
            _ => return Err(error(at, "expected a column, `not` or `(`")),
        };
        self.next += 1;
        if self.takes("is") {
            let wanted = !self.takes("not");
            if !self.takes("null") {
                return Err(error(self.at(), "expected `null`"));
            }
            return Ok(Expr::IsNull { column, wanted });
        }
        let op_at = self.at();
        let Some(Token::Op(op)) = self.peek().cloned() else {
            return Err(error(op_at, "expected `=`, `!=`, `<`, `<=`, `>`, `>=` or `is`"));
        };
        self.next += 1;
        let at = self.at();
        let literal = match self.peek().cloned() {
            Some(Token::Literal(literal)) => literal,
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("true") => Literal::Bool(true),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("false") => Literal::Bool(false),
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("null") => {
                return Err(error(at, "nothing equals null: write `is null` or `is not null`"));
            }
            Some(Token::Word(word)) => {
                return Err(error(
                    at,
                    format!("expected a value: a text is written in single quotes, '{word}'"),
                ));
            }
            _ => return Err(error(at, "expected a value: 'text', a number, true, false or a time")),
        };
        self.next += 1;
        Ok(Expr::Compare { column, op, op_at, literal, at })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Where the next token begins, or the text ends.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.next += usize::from(is_next);
        is_next
    }
}

fn single_or(mut list: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match list.pop() {
        Some(only) if list.is_empty() => only,
        last => {
            list.extend(last);
            join(list)
        }
    }
}

fn is_keyword(word: &str) -> bool {
    ["and", "or", "not", "is", "null", "true", "false"]
        .iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword))
}

fn tokens(text: &str) -> Result<Vec<(usize, Token)>, FilterError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (token, len) = match c {
            c if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '\'' => quoted(rest, at)?,
            '=' | '!' | '<' | '>' | '&' | '|' => operator(rest, at)?,
            '0'..='9' | '-' | '+' | '.' => number_or_time(rest, at)?,
            c if c.is_ascii_alphabetic() || c == '_' => {
                let len = run(rest, |c| c.is_ascii_alphanumeric() || c == '_');
                (Token::Word(rest[..len].to_owned()), len)
            }
            '"' => return Err(error(at, "a text is written in single quotes, a column without any")),
            c => return Err(error(at, format!("unexpected `{}`", c.escape_debug()))),
        };
        tokens.push((at, token));
        at += len;
    }
    Ok(tokens)
}

/// The length of the beginning of `text` whose characters are all such.
fn run(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

fn quoted(rest: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1).peekable();
    while let Some((i, c)) = characters.next() {
        if c != '\'' {
            text.push(c);
        } else if characters.next_if(|(_, next)| *next == '\'').is_some() {
            text.push('\'');
        } else {
            return Ok((Token::Literal(Literal::Text(text)), i + 1));
        }
    }
    Err(error(at, "the text that begins here has no closing quote"))
}

fn operator(rest: &str, at: usize) -> Result<(Token, usize), FilterError> {
    const OPERATORS: [(&str, Op); 7] = [
        ("!=", Op::NotEqual),
        ("<>", Op::NotEqual),
        ("<=", Op::LessOrEqual),
        (">=", Op::GreaterOrEqual),
        ("<", Op::Less),
        (">", Op::Greater),
        ("=", Op::Equal),
    ];
    let len = run(rest, |c| "=!<>&|".contains(c));
    let wanted = match &rest[..len] {
        "==" => "`=`",
        "&&" | "&" => "`and`",
        "||" | "|" => "`or`",
        "!" => "`not`",
        "=<" => "`<=`",
        "=>" => "`>=`",
        symbol => match OPERATORS.iter().find(|(known, _)| *known == symbol) {
            Some((_, op)) => return Ok((Token::Op(*op), len)),
            None => "`=`, `!=`, `<`, `<=`, `>` or `>=`",
        },
    };
    Err(error(at, format!("expected {wanted}, found `{}`", &rest[..len])))
}

fn number_or_time(rest: &str, at: usize) -> Result<(Token, usize), FilterError> {
    let len = run(rest, |c| c.is_ascii_alphanumeric() || "+-.:_".contains(c));
    let text = &rest[..len];
    let is_time =
        text.as_bytes().get(4) == Some(&b'-') && text.as_bytes()[..4].iter().all(u8::is_ascii_digit);
    let literal = if is_time {
        match parse_moment(text) {
            Ok(Moment::At(us)) => Literal::Time(us),
            Ok(_) => return Err(error(at, "expected a time like 2026-03-01T14:30:00Z")),
            Err(wrong) => return Err(error(at, wrong.to_string())),
        }
    } else if let Ok(integer) = text.parse::<i128>() {
        Literal::Integer(integer)
    } else {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        Literal::Double(number.ok_or_else(|| error(at, format!("`{text}` is neither a number nor a time")))?)
    };
    Ok((Token::Literal(literal), len))
}
