package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// curlOptions are what curl is called with.
type curlOptions struct {
	silent, showErrors bool
	output, format     string
	limit              time.Duration
	url                string
}

// curl gets a URL as the program of that name does, with the flags that scripts of containers give it: -s, -S, -o, -w with
// http_code and time_total, and --max-time. It returns the exit status: 7 where nobody answered.
func curl(args []string, stdout, stderr io.Writer) int {
	o, err := curlArguments(args)
	if err != nil {
		fmt.Fprintln(stderr, "curl:", err)
		return 2
	}
	began := time.Now()
	code, err := o.get(stdout)
	if err != nil && (!o.silent || o.showErrors) {
		fmt.Fprintln(stderr, "curl:", err)
	}
	fmt.Fprint(stdout, strings.NewReplacer(
		"%{http_code}", fmt.Sprintf("%03d", code), "%{time_total}", fmt.Sprintf("%.6f", time.Since(began).Seconds()), `\n`, "\n",
	).Replace(o.format))
	if err != nil {
		return 7
	}
	return 0
}

func curlArguments(args []string) (o curlOptions, err error) {
	for i := 0; i < len(args); i++ {
		value := func() string {
			if i++; i < len(args) {
				return args[i]
			}
			err = fmt.Errorf("%s needs a value", args[len(args)-1])
			return ""
		}
		switch arg := args[i]; arg {
		case "-s":
			o.silent = true
		case "-sS", "-Ss":
			o.silent, o.showErrors = true, true
		case "-S":
			o.showErrors = true
		case "-o":
			o.output = value()
		case "-w":
			o.format = value()
		case "--max-time":
			seconds, parseErr := strconv.ParseFloat(value(), 64)
			if parseErr != nil {
				return o, parseErr
			}
			o.limit = time.Duration(seconds * float64(time.Second))
		default:
			if strings.HasPrefix(arg, "-") {
				return o, fmt.Errorf("%s is not known here", arg)
			}
			o.url = arg
		}
	}
	return o, err
}

// get writes the body where it belongs, and returns the status; 0 is no answer.
func (o curlOptions) get(stdout io.Writer) (int, error) {
	ctx := context.Background()
	if o.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.limit)
		defer cancel()
	}
	url := o.url
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	request.Header.Set("User-Agent", "curl")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	out := stdout
	if o.output != "" {
		file, err := os.Create(o.output)
		if err != nil {
			return 0, err
		}
		defer file.Close()
		out = file
	}
	_, err = io.Copy(out, response.Body)
	return response.StatusCode, err
}
