package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/petrelchat/petrel/broker/config"
)

type checkCmd struct {
	File  string `arg:"" optional:"" help:"The configuration file; without it the defaults and the PETREL_ variables." env:"PETREL_CONFIG"`
	Print bool   `help:"Print the whole effective configuration. It holds no secrets: keys are named by their files."`
}

func (c checkCmd) Run(io console) error {
	cfg, err := load(c.File, io.env)
	if err != nil {
		return err
	}
	if !c.Print {
		_, err = fmt.Fprintln(io.out, "ok")
		return err
	}
	text, err := cfg.YAML()
	if err != nil {
		return err
	}
	_, err = io.out.Write(text)
	return err
}

// load is config.Load with a missing file as a fault of the command line.
func load(file string, env []string, flags ...config.Setting) (config.Config, error) {
	cfg, err := config.Load(file, env, flags...)
	if errors.Is(err, fs.ErrNotExist) {
		return cfg, usageError{err}
	}
	return cfg, err
}
