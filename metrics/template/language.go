package template

import "strings"

// language is how a query has texts and comments: where a value may stand that is not to become a part of the query.
type language struct {
	// quotes each begin and end a text, in which escape takes its meaning from the character that follows.
	quotes string
	escape byte
	// sure is false where it depends on the server what escape does to a quote: there no value may have one.
	sure bool
	// raw each begin and end a text in which nothing is escaped.
	raw string
	// comments begin what goes on to the end of the line.
	comments []string
	// blocks is true of a language with /* comments */.
	blocks bool
	// interpolation is true where a text has expressions between ${ and }.
	interpolation bool
	// regexes is true of a language with /regular expressions/.
	regexes bool
	// parameters is true of URLs: what follows a ? has escapes by %.
	parameters bool
}

const backslash = '\\'

var (
	plain    = &language{}
	promQL   = &language{quotes: `"'`, escape: backslash, sure: true, raw: "`", comments: []string{"#"}}
	flux     = &language{quotes: `"`, escape: backslash, sure: true, comments: []string{"//"}, interpolation: true, regexes: true}
	influxQL = &language{quotes: `"'`, escape: backslash, sure: true, comments: []string{"--"}, blocks: true, regexes: true}
)

// languages are by the type of a metric provider. One that is not here has no texts: values stand in it bare.
var languages = map[string]*language{
	"cloudwatch":      {quotes: `"`, escape: backslash, sure: true}, // JSON
	"datadog":         {quotes: `"`, escape: backslash},
	"dynatrace":       {quotes: `"`, escape: '~', sure: true},
	"externalmetrics": plain,
	"graphite":        {quotes: `"'`, escape: backslash},
	"influxdb":        influxQL,
	"keptn":           plain,
	"newrelic":        {quotes: `"'`, escape: backslash, raw: "`", comments: []string{"--", "//"}, blocks: true},
	"prometheus":      promQL,
	"skywalking":      {quotes: `"`, escape: backslash, sure: true, comments: []string{"#"}}, // GraphQL
	"splunk":          {quotes: `"'`, escape: backslash, comments: []string{"#"}},
	"stackdriver":     {quotes: `"'`, escape: backslash, comments: []string{"#"}},
	"web":             {parameters: true},
}

// Known tells whether the language of a type of metric provider is known.
func Known(provider string) bool { return languages[provider] != nil }

// languageOf is that of a query for a type of metric provider.
func languageOf(provider, query string) *language {
	switch {
	case provider == "influxdb" && (strings.HasPrefix(strings.TrimSpace(query), "from(") || strings.Contains(query, "|>")):
		return flux
	case provider == "graphite" && strings.Contains(query, "target="):
		return plain // the parameters of a URL: quotes protect nothing in them
	case languages[provider] == nil:
		return plain
	default:
		return languages[provider]
	}
}

// modes of a position beside the quotes of texts.
const (
	code    = 'c'
	within  = '{' // an expression in a text
	regex   = '/'
	comment = '#'
	block   = '*'
)

// position is where in a query its end is, as far as it is written.
type position struct {
	of *language
	// modes are what the end is in, the innermost last.
	modes []byte
	// escaped is true if the next character has no meaning.
	escaped bool
	// before is the last character in the innermost mode, last the last of code that is no space, and word the last word of code.
	before, last byte
	word         []byte
	// parameters is true behind the ? of a URL.
	parameters bool
}

func newPosition(of *language) *position { return &position{of: of, modes: []byte{code}} }

func (p *position) mode() byte { return p.modes[len(p.modes)-1] }

// bare is true outside of texts and comments.
func (p *position) bare() bool {
	m := p.mode()
	return m == code || m == within || m == regex
}

func (p *position) enter(mode byte) { p.modes, p.before, p.escaped = append(p.modes, mode), 0, false }

func (p *position) leave() {
	if len(p.modes) > 1 {
		p.modes = p.modes[:len(p.modes)-1]
	}
	p.before, p.last, p.escaped, p.word = 0, '"', false, nil
}

// write goes on behind s.
func (p *position) write(s string) {
	for i := range len(s) {
		p.step(s[i])
	}
}

func (p *position) step(b byte) {
	before := p.before
	p.before = b
	switch mode := p.mode(); mode {
	case code, within:
		p.inCode(before, b)
	case regex:
		p.inRegex(before, b)
	case comment:
		if b == '\n' || b == '\r' {
			p.leave()
		}
	case block:
		if before == '*' && b == '/' {
			p.leave()
		}
	default:
		p.inText(mode, before, b)
	}
}

func (p *position) inText(quote, before, b byte) {
	raw := strings.IndexByte(p.of.raw, quote) >= 0
	switch {
	case p.escaped:
		p.escaped, p.before = false, 0
	case !raw && b == p.of.escape:
		p.escaped = true
	case !raw && p.of.interpolation && before == '$' && b == '{':
		p.enter(within)
	case b == quote:
		p.leave()
	}
}

func (p *position) inCode(before, b byte) {
	switch {
	case p.of.blocks && before == '/' && b == '*':
		p.enter(block)
	case p.comments(before, b):
		p.enter(comment)
	case strings.IndexByte(p.of.quotes+p.of.raw, b) >= 0:
		p.enter(b)
	case p.of.interpolation && b == '{' && len(p.modes) > 1:
		p.enter(within)
	case p.mode() == within && b == '}':
		p.leave()
	case p.of.regexes && b == '/' && p.operand():
		p.enter(regex)
	default:
		p.inOperators(before, b)
	}
}

func (p *position) inOperators(before, b byte) {
	p.parameters = p.parameters || p.of.parameters && b == '?'
	p.remember(before, b)
}

func (p *position) comments(before, b byte) bool {
	for _, start := range p.of.comments {
		if start[len(start)-1] == b && (len(start) == 1 || start[0] == before) {
			return true
		}
	}
	return false
}

// operand is true where a value may begin, and not an operator.
func (p *position) operand() bool {
	return p.last == 0 || strings.IndexByte("~(,", p.last) >= 0 || strings.EqualFold(string(p.word), "from")
}

func (p *position) remember(before, b byte) {
	if !isSpace(b) {
		p.last = b
	}
	switch {
	case isWord(b) && isWord(before) && len(p.word) < 8:
		p.word = append(p.word, b)
	case isWord(b) && !isWord(before):
		p.word = []byte{b}
	case !isSpace(b):
		p.word = nil
	}
}

func (p *position) inRegex(before, b byte) {
	switch {
	case p.escaped:
		p.escaped = false
	case b == backslash:
		p.escaped = true
	case b == '*' && before == 0 && p.of.blocks:
		p.modes[len(p.modes)-1] = block
	case b == '/' && before == 0 && p.comments('/', '/'):
		p.modes[len(p.modes)-1] = comment
	case b == '/':
		p.leave()
	}
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }

func isWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}
