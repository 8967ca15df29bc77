package main

import "testing"

func TestMemoryLimitOfTheContainer(t *testing.T) {
	for _, c := range []struct {
		name, groups string
		files        map[string]string
		want         int64
	}{
		{"none", "0::/\n", map[string]string{"/memory.max": "max\n"}, 0},
		{"container", "0::/\n", map[string]string{"/memory.max": "536870912\n"}, 512 << 20},
		{"service below a slice", "0::/system.slice/yjet.service\n", map[string]string{
			"/system.slice/yjet.service/memory.max": "1073741824\n", "/system.slice/memory.max": "268435456\n", "/memory.max": "max\n"}, 256 << 20},
		{"version 1", "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n", map[string]string{"memory/docker/abc/memory.limit_in_bytes": "104857600\n"}, 100 << 20},
		{"version 1 without", "4:memory:/\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"not what it should be", "nonsense\n::\n0::\n", nil, 0},
	} {
		got, ok := cgroupLimit(c.groups, func(name string) string { return c.files[name] })
		if got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %d, %v; want %d", c.name, got, ok, c.want)
		}
	}
}
