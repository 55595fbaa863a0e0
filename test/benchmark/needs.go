package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// need is a program, or a file by its path, and the Debian package that has it.
type need struct{ what, pkg string }

func (n need) present() bool {
	if filepath.IsAbs(n.what) {
		_, err := os.Stat(n.what)
		return err == nil
	}
	_, err := exec.LookPath(n.what)
	return err == nil
}

func missing(needs []need) (pkgs []string) {
	for _, n := range needs {
		if !n.present() {
			pkgs = append(pkgs, n.pkg)
		}
	}
	slices.Sort(pkgs)
	return slices.Compact(pkgs)
}

// provide installs what is missing, or says what is.
func provide(needs ...need) error {
	lack := missing(needs)
	if len(lack) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return fmt.Errorf("missing Debian packages; install them with: sudo apt-get install %s", strings.Join(lack, " "))
	}
	fmt.Fprintln(os.Stderr, "installing", strings.Join(lack, " "))
	for _, args := range [][]string{{"-q", "update"}, append([]string{"-qy", "install", "--no-install-recommends"}, lack...)} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[1], err, out)
		}
	}
	if lack = missing(needs); len(lack) > 0 {
		return errors.New("still missing after installation: " + strings.Join(lack, " "))
	}
	return nil
}
