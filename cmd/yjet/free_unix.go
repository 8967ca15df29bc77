//go:build linux || darwin || freebsd

package main

import "syscall"

// freeSpace is how many bytes can still be written to the file system of dir; false when it cannot be told.
func freeSpace(dir string) (int64, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false
	}
	return int64(st.Bavail) * int64(st.Bsize), true
}
