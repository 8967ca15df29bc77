package main

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// settings is a flag set whose flags may also come from the environment and from a file. A flag on the command line wins over
// the environment, the environment over the file, the file over the default.
//
// A flag --jwt-secret is YJET_JWT_SECRET in the environment and jwt-secret in a file. Secrets also come from a file of their own:
// --jwt-secret-file, YJET_JWT_SECRET_FILE.
type settings struct {
	*flag.FlagSet
	also   map[string][]string // further environment names of a flag, as other products set them
	secret map[string]bool     // shown as *** by --print-config
	source map[string]string   // where each value came from

	sharesFile bool // --config is a server's file: settings that this command does not have are skipped

	configFile  string
	envFile     string
	printConfig bool
}

// errPrinted ends a command that only prints something about itself: --help, --print-config.
var errPrinted = errors.New("printed")

// usageError is a mistake in how the program was called; it ends with exit code 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func newSettings(command string) *settings {
	s := &settings{
		FlagSet: flag.NewFlagSet(command, flag.ContinueOnError),
		also:    map[string][]string{},
		secret:  map[string]bool{},
		source:  map[string]string{},
	}
	s.SetOutput(io.Discard) // errors are printed once, by run
	return s
}

// files adds the flags by which settings come from files.
func (s *settings) files() {
	s.StringVar(&s.configFile, "config", "", "`file` of settings, one \"name: value\" a line, names as the flags here")
	s.StringVar(&s.envFile, "env-file", "", "`file` of environment variables, one NAME=value a line; the environment itself wins")
	s.BoolVar(&s.printConfig, "print-config", false, "print every setting, its value and where it came from, and stop; secrets are masked")
}

// secretVar adds a secret and its -file twin.
func (s *settings) secretVar(p *string, name, help string, also ...string) {
	s.StringVar(p, name, "", help)
	s.Func(name+"-file", "`file` that holds --"+name, func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		*p = strings.TrimRight(string(b), "\r\n")
		return nil
	})
	s.secret[name] = true
	s.also[name] = also
	for _, a := range also {
		s.also[name+"-file"] = append(s.also[name+"-file"], a+"_FILE")
	}
}

func envName(flagName string) string {
	return "YJET_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// load reads args, the environment and the files. environ is a list as os.Environ gives it. Words after the flags are left in Args.
func (s *settings) load(args, environ []string, stdout io.Writer, usage string) error {
	if err := s.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			s.printUsage(stdout, usage)
			return errPrinted
		}
		return usagef("%s; see 'yjet %s --help'", flagMistake(err), s.Name())
	}
	s.Visit(func(f *flag.Flag) { s.source[f.Name] = "flag" })

	env, err := s.environment(environ)
	if err != nil {
		return err
	}
	if s.Lookup("config") != nil && s.configFile == "" {
		s.configFile = env["YJET_CONFIG"]
	}
	file, err := readConfigFile(s.configFile)
	if err != nil {
		return err
	}
	for name := range file {
		if s.Lookup(name) == nil && !(s.sharesFile && isServerSetting(name)) {
			return usagef("%s: no setting is called %q; see 'yjet %s --help'", s.configFile, name, s.Name())
		}
	}

	var bad error
	s.VisitAll(func(f *flag.Flag) {
		if bad != nil || s.settled(f.Name) {
			return
		}
		for _, name := range append([]string{envName(f.Name)}, s.also[f.Name]...) {
			if v, ok := env[name]; ok && v != "" {
				s.source[f.Name] = name
				if err := s.Set(f.Name, v); err != nil {
					bad = usagef("%s: %w", name, err)
				}
				return
			}
		}
		if v, ok := file[f.Name]; ok {
			s.source[f.Name] = s.configFile
			if err := s.Set(f.Name, v); err != nil {
				bad = usagef("%s: %s: %w", s.configFile, f.Name, err)
			}
		}
	})
	if bad != nil {
		return bad
	}
	if s.printConfig {
		s.print(stdout)
		return errPrinted
	}
	return nil
}

// flagMistake is an error of package flag in the words of this program, whose flags have two dashes.
func flagMistake(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return "there is no flag --" + name
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return "--" + name + " needs a value"
	}
	return strings.TrimSuffix(wrongValue.ReplaceAllString(text, "--$2: $1"), ": parse error")
}

var wrongValue = regexp.MustCompile(`^(invalid (?:boolean )?value ".*?") for (?:flag )?-([a-z0-9-]+)`)

// isServerSetting reports whether dev or serve have a setting of that name.
func isServerSetting(name string) bool {
	s := newSettings("serve")
	configFlags(s, &config{}, false)
	return s.Lookup(name) != nil
}

// settled reports whether a flag, or its -file twin, or the secret that this is the file of, already has a value from a higher source.
func (s *settings) settled(name string) bool {
	if s.source[name] != "" || s.source[name+"-file"] != "" {
		return true
	}
	base, isFile := strings.CutSuffix(name, "-file")
	return isFile && s.secret[base] && s.source[base] != ""
}

// environment joins the environment and --env-file; the environment wins.
func (s *settings) environment(environ []string) (map[string]string, error) {
	env := map[string]string{}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	if s.Lookup("env-file") == nil {
		return env, nil
	}
	if s.envFile == "" {
		s.envFile = env["YJET_ENV_FILE"]
	}
	if s.envFile == "" {
		return env, nil
	}
	b, err := os.ReadFile(s.envFile)
	if err != nil {
		return nil, usagef("--env-file: %w", err)
	}
	for n, line := range lines(b) {
		line = strings.TrimPrefix(line, "export ")
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			return nil, usagef("%s:%d: want NAME=value", s.envFile, n)
		}
		if k = strings.TrimSpace(k); env[k] == "" {
			env[k] = value(v)
		}
	}
	return env, nil
}

// readConfigFile reads "name: value" lines; "" is no file.
func readConfigFile(path string) (map[string]string, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("--config: %w", err)
	}
	file := map[string]string{}
	for n, line := range lines(b) {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			return nil, usagef("%s:%d: want \"name: value\"", path, n)
		}
		file[strings.TrimSpace(k)] = value(v)
	}
	return file, nil
}

// lines yields the numbered lines of b without blank ones and comments.
func lines(b []byte) func(yield func(int, string) bool) {
	return func(yield func(int, string) bool) {
		sc := bufio.NewScanner(bytes.NewReader(b))
		for n := 1; sc.Scan(); n++ {
			line := strings.TrimSpace(sc.Text())
			if line == "" || line[0] == '#' {
				continue
			}
			if !yield(n, line) {
				return
			}
		}
	}
}

// value reads the text after a name, with or without quotes. A comment begins with a # that follows a blank.
func value(v string) string {
	if text := strings.TrimSpace(v); text != "" && (text[0] == '"' || text[0] == '\'') {
		if inner, rest, ok := strings.Cut(text[1:], text[:1]); ok && (rest == "" || isComment(rest)) {
			return inner
		}
	}
	for i := range v {
		if isComment(v[i:]) {
			v = v[:i]
			break
		}
	}
	return strings.TrimSpace(v)
}

// isComment reports whether s is blanks and then a comment.
func isComment(s string) bool {
	rest := strings.TrimLeft(s, " \t")
	return len(rest) < len(s) && strings.HasPrefix(rest, "#")
}

func (s *settings) print(w io.Writer) {
	s.VisitAll(func(f *flag.Flag) {
		if f.Name == "print-config" || strings.HasSuffix(f.Name, "-file") && s.secret[strings.TrimSuffix(f.Name, "-file")] {
			return
		}
		v, from := f.Value.String(), s.source[f.Name]
		if from == "" {
			from = s.source[f.Name+"-file"]
		}
		if s.secret[f.Name] && v != "" {
			v = "***"
		}
		v = maskURLs(v)
		if from == "" {
			from = "default"
		}
		fmt.Fprintf(w, "%s: %s  # %s\n", f.Name, v, from)
	})
}

// maskURLs masks the password of every URL of a comma-separated list, and the values of query parameters that are named like
// credentials.
func maskURLs(list string) string {
	if !strings.Contains(list, "://") {
		return list
	}
	words := strings.Split(list, ",")
	for i, word := range words {
		words[i] = credentialed.ReplaceAllString(word, "${1}***@")
		words[i] = credentialParam.ReplaceAllString(words[i], "${1}***")
	}
	return strings.Join(words, ",")
}

var (
	credentialed    = regexp.MustCompile(`(://)[^/?#@]*@`)
	credentialParam = regexp.MustCompile(`(?i)([?&][a-z0-9_-]*(?:token|key|secret|password|signature|auth)[a-z0-9_-]*=)[^&#]*`)
)

func (s *settings) printUsage(w io.Writer, usage string) {
	fmt.Fprintf(w, "%s\n\nFlags (each is also %s… in the environment):\n", strings.TrimSpace(usage), "YJET_")
	var names []string
	s.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	slices.Sort(names)
	for _, name := range names {
		f := s.Lookup(name)
		if base, ok := strings.CutSuffix(name, "-file"); ok && s.secret[base] {
			continue // listed with its secret
		}
		arg, help := flag.UnquoteUsage(f)
		if s.secret[name] {
			help += " (also --" + name + "-file)"
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
			help += " (default " + f.DefValue + ")"
		}
		if len(s.also[name]) > 0 {
			help += " [also " + strings.Join(s.also[name], ", ") + "]"
		}
		fmt.Fprintf(w, "  --%s\n        %s\n", strings.TrimSpace(name+" "+arg), help)
	}
}
