package loadtester

import (
	"errors"
	"slices"
	"testing"
)

func TestWords(t *testing.T) {
	for name, tc := range map[string]struct {
		line       string
		want       []string
		wantSyntax rune
		wantErr    bool
	}{
		"nothing":                           {line: " \t ", want: nil},
		"plain":                             {line: "hey -z 1m  -q 10\thttp://podinfo:9898/", want: []string{"hey", "-z", "1m", "-q", "10", "http://podinfo:9898/"}},
		"the end of a block in YAML":        {line: "hey -z 1m\n", want: []string{"hey", "-z", "1m"}},
		"single quotes":                     {line: `-d '{"a": "$x; \"}'`, want: []string{"-d", `{"a": "$x; \"}`}},
		"double quotes":                     {line: `-d "{\"a\": 1} \n \\"`, want: []string{"-d", `{"a": 1} \n \`}},
		"parts of one word":                 {line: `-H'Host: 'a"b c"d\ e`, want: []string{"-HHost: ab cd e"}},
		"an empty word":                     {line: `a '' ""`, want: []string{"a", "", ""}},
		"braces, patterns, a fragment":      {line: `{test} http://a/?b=*#c`, want: []string{"{test}", "http://a/?b=*#c"}},
		"a line that goes on":               {line: "hey \\\n -z 1m \"a\\\nb\"", want: []string{"hey", "-z", "1m", "ab"}},
		"syntax in single quotes":           {line: `'a && b | c > $d'`, want: []string{"a && b | c > $d"}},
		"escaped syntax":                    {line: `a\&b \$c "\$d"`, want: []string{"a&b", "$c", "$d"}},
		"pipe":                              {line: "hey x | tee", wantSyntax: '|'},
		"two commands":                      {line: "a; b", wantSyntax: ';'},
		"two lines":                         {line: "a\nb", wantSyntax: '\n'},
		"and":                               {line: "http://a/?b=1&c=2", wantSyntax: '&'},
		"redirection":                       {line: "a > b", wantSyntax: '>'},
		"variable":                          {line: "a $HOME", wantSyntax: '$'},
		"variable in double quotes":         {line: `a "$HOME"`, wantSyntax: '$'},
		"substitution":                      {line: "a `id`", wantSyntax: '`'},
		"substitution in double quotes":     {line: "a \"`id`\"", wantSyntax: '`'},
		"subshell":                          {line: "(a)", wantSyntax: '('},
		"comment":                           {line: "a #b", wantSyntax: '#'},
		"open single quotes":                {line: "a 'b", wantErr: true},
		"open double quotes":                {line: `a "b`, wantErr: true},
		"backslash at the end":              {line: `a \`, wantErr: true},
		"backslash at the end of quotation": {line: `a "\`, wantErr: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := words(tc.line)
			var syntax *shellSyntaxError
			switch {
			case tc.wantSyntax != 0:
				if !errors.As(err, &syntax) || syntax.character != tc.wantSyntax {
					t.Errorf("got %q and error %v, want one about %q", got, err, tc.wantSyntax)
				}
			case (err != nil) != tc.wantErr || errors.As(err, &syntax):
				t.Errorf("got error %v, want one: %t", err, tc.wantErr)
			case err == nil && !slices.Equal(got, tc.want):
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
