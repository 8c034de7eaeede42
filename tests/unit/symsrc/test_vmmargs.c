/* Command lines of VMMs as they are met, and as nobody should write them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "symsrc/vmmargs.h"
#include "tests/unit/lib/wait.h"

#define MIB	  (1ULL << 20)
#define QEMU	  "/usr/bin/qemu-system-x86_64"
#define MAX_WORDS 128

/* Words of one line, separated by blanks: easier to read than a list of strings. */
static struct vmm_args parse(const char *exe, const char *line)
{
	struct vmm_args a;
	size_t n = strlen(line);
	char *bytes = strdup(line);

	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == ' ')
			bytes[i] = '\0';
	}
	memset(&a, 0xa5, sizeof(a));
	assert_int_equal(vmmargs_parse(exe, bytes, n + 1, &a), 0);
	free(bytes);
	return a;
}

static struct vmm_args qemu(const char *options)
{
	char line[4096];

	snprintf(line, sizeof(line), "qemu-system-x86_64 %s", options);
	return parse(QEMU, line);
}

/* A guest of a test lab, as it stood in /proc/PID/cmdline. */
static void test_plain_qemu(void **state)
{
	struct vmm_args a =
		qemu("-name a,debug-threads=on -accel kvm -cpu host -machine pc -smp 1 -m 384 "
		     "-nodefaults "
		     "-no-user-config -display none -vga none -no-reboot -daemonize -pidfile "
		     "/run/l2/a/pid "
		     "-kernel /var/lib/vmlinuz -initrd /var/lib/l2.cpio -append console=ttyS0 "
		     "-chardev file,id=con,path=/run/l2/a/console.log -serial chardev:con "
		     "-netdev user,id=n0,hostfwd=tcp:127.0.0.1:2201-:22 "
		     "-device virtio-net-pci,netdev=n0,romfile= -device virtio-serial-pci "
		     "-chardev socket,id=qga,path=/run/l2/a/qga.sock,server=on,wait=off "
		     "-device virtserialport,chardev=qga,name=org.qemu.guest_agent.0 "
		     "-chardev socket,id=own,path=/run/l2/a/own.sock,server=on,wait=off "
		     "-device virtserialport,chardev=own,name=org.kvmprofs.0 "
		     "-qmp unix:/run/l2/a/qmp.sock,server=on,wait=off -device pci-testdev "
		     "-device vhost-vsock-pci,guest-cid=101");

	(void)state;
	assert_true(a.is_qemu);
	assert_false(a.runs_none);
	assert_false(a.may_be_tcg);
	assert_true(a.has_name);
	assert_string_equal(a.vmm, "qemu-system-x86_64");
	assert_string_equal(a.name, "a");
	assert_string_equal(a.uuid, "");
	assert_int_equal(a.memory_bytes, 384 * MIB);
	assert_int_equal(a.qmp_count, 1);
	assert_string_equal(a.qmp[0].path, "/run/l2/a/qmp.sock");
	assert_string_equal(a.agent.path, "/run/l2/a/qga.sock");
	assert_string_equal(a.port.path, "/run/l2/a/own.sock");
	assert_string_equal(a.ssh_host, "127.0.0.1");
	assert_int_equal(a.ssh_port, 2201);
	assert_int_equal(a.vsock_cid, 101);
}

/* As libvirt 9 starts it: JSON, and listening sockets that were passed as descriptors. */
static void test_libvirt(void **state)
{
	struct vmm_args a = qemu(
		"-name guest=debian12,debug-threads=on -S "
		"-object {\"qom-type\":\"secret\",\"id\":\"masterKey0\",\"format\":\"raw\"} "
		"-machine pc-q35-7.2,usb=off,vmport=off,dump-guest-core=off,memory-backend=pc.ram "
		"-accel kvm -cpu host,migratable=on -m size=2097152k "
		"-object "
		"{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":2147483648} "
		"-overcommit mem-lock=off -smp 2,sockets=2,cores=1,threads=1 "
		"-uuid C7A5FDBD-EDAF-9455-926A-D65C16DB1809 -no-user-config -nodefaults "
		"-chardev socket,id=charmonitor,fd=23,server=on,wait=off "
		"-mon chardev=charmonitor,id=monitor,mode=control -rtc base=utc,driftfix=slew "
		"-global kvm-pit.lost_tick_policy=delay -no-hpet -no-shutdown "
		"-device "
		"{\"driver\":\"pcie-root-port\",\"port\":16,\"id\":\"pci.1\",\"bus\":\"pcie.0\"} "
		"-netdev "
		"{\"type\":\"tap\",\"fd\":\"25\",\"vhost\":true,\"vhostfd\":\"27\",\"id\":\"n0\"} "
		"-netdev {\"type\":\"user\",\"id\":\"n1\",\"hostfwd\":[{\"str\":\"tcp::80-:80\"},"
		"{\"str\":\"tcp::2222-10.0.2.15:22\"}]} "
		"-chardev socket,id=charchannel0,fd=22,server=on,wait=off "
		"-device {\"driver\":\"virtserialport\",\"bus\":\"virtio-serial0.0\",\"nr\":1,"
		"\"chardev\":\"charchannel0\",\"id\":\"channel0\",\"name\":\"org.qemu.guest_agent."
		"0\"} "
		"-chardev "
		"{\"id\":\"charchannel1\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":"
		"{\"type\":\"fd\",\"data\":{\"str\":\"29\"}},\"server\":true,\"wait\":false}}} "
		"-device {\"driver\":\"virtserialport\",\"bus\":\"virtio-serial0.0\",\"nr\":2,"
		"\"chardev\":\"charchannel1\",\"id\":\"channel1\",\"name\":\"org.kvmprofs.0\"} "
		"-device {\"driver\":\"vhost-vsock-pci\",\"id\":\"vsock0\",\"guest-cid\":3,"
		"\"vhostfd\":\"21\",\"bus\":\"pci.6\"} -sandbox on,obsolete=deny -msg "
		"timestamp=on");

	(void)state;
	assert_string_equal(a.name, "debian12");
	assert_string_equal(a.uuid, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
	assert_int_equal(a.memory_bytes, 2048 * MIB);
	assert_int_equal(a.qmp_count, 1);
	assert_string_equal(a.qmp[0].path, "");
	assert_int_equal(a.qmp[0].fd, 23);
	assert_string_equal(a.agent.path, "");
	assert_int_equal(a.agent.fd, 22);
	assert_string_equal(a.port.path, "");
	assert_int_equal(a.port.fd, 29);
	assert_string_equal(a.ssh_host, "127.0.0.1");
	assert_int_equal(a.ssh_port, 2222);
	assert_int_equal(a.vsock_cid, 3);
}

static void test_proxmox(void **state)
{
	struct vmm_args a = parse(
		"/usr/bin/qemu-system-x86_64 (deleted)",
		"/usr/bin/kvm -id 100 -name web,debug-threads=on -no-shutdown "
		"-chardev socket,id=qmp,path=/var/run/qemu-server/100.qmp,server=on,wait=off "
		"-mon chardev=qmp,mode=control "
		"-chardev socket,id=qmp-event,path=/var/run/qmeventd.sock,reconnect=5 "
		"-mon chardev=qmp-event,mode=control -pidfile /var/run/qemu-server/100.pid "
		"-daemonize "
		"-smbios type=1,uuid=0c3a9b3e-6a6b-4e0f-8a8b-30b2c77e5fd1 -smp 4,sockets=1,cores=4 "
		"-nodefaults -vnc unix:/var/run/qemu-server/100.vnc,password=on -cpu host -m 4096 "
		"-chardev socket,path=/var/run/qemu-server/100.qga,server=on,wait=off,id=qga0 "
		"-device virtio-serial,id=qga0,bus=pci.0,addr=0x8 "
		"-device virtserialport,chardev=qga0,name=org.qemu.guest_agent.0 -machine "
		"type=pc+pve0");

	(void)state;
	assert_string_equal(a.vmm, "qemu-system-x86_64");
	assert_string_equal(a.name, "web");
	assert_int_equal(a.memory_bytes, 4096 * MIB);
	/* Its second monitor is a client of somebody else. */
	assert_int_equal(a.qmp_count, 1);
	assert_string_equal(a.qmp[0].path, "/var/run/qemu-server/100.qmp");
	assert_string_equal(a.agent.path, "/var/run/qemu-server/100.qga");
}

static void test_name_forms(void **state)
{
	(void)state;
	assert_string_equal(qemu("-name x").name, "x");
	assert_string_equal(qemu("--name x").name, "x");
	assert_string_equal(qemu("-name a,,b,process=c").name, "a,b");
	assert_string_equal(qemu("-name process=c,guest=b").name, "b");
	assert_string_equal(qemu("-name \x1b[31m\n\xff").name, "\x1b[31m\n\xff");
	assert_string_equal(qemu("-name process=c").name, "qemu-system-x86_64");
	assert_false(qemu("-name process=c").has_name);
	assert_string_equal(qemu("-append -name -snapshot -name real").name, "real");
	assert_string_equal(qemu("disk.img -name x").name, "x");
	assert_string_equal(qemu("-name").name, "qemu-system-x86_64");
}

static void test_long_name_is_cut(void **state)
{
	char options[600] = "-name ";

	(void)state;
	memset(options + 6, 'n', 500);
	assert_int_equal(strlen(qemu(options).name), GUEST_NAME_MAX - 1);
}

static void test_memory_forms(void **state)
{
	(void)state;
	assert_int_equal(qemu("").memory_bytes, 128 * MIB);
	assert_int_equal(qemu("-m 512").memory_bytes, 512 * MIB);
	assert_int_equal(qemu("-m 2G").memory_bytes, 2048 * MIB);
	assert_int_equal(qemu("-m 1.5g,slots=2,maxmem=4G").memory_bytes, 1536 * MIB);
	assert_int_equal(qemu("-m slots=2,size=1048576k").memory_bytes, 1024 * MIB);
	assert_int_equal(qemu("-m 268435456b").memory_bytes, 256 * MIB);
	assert_int_equal(qemu("-m 100 -m 200").memory_bytes, 200 * MIB);
	assert_int_equal(qemu("-m 99999999999999999999E").memory_bytes, 128 * MIB);
	assert_int_equal(qemu("-m -5").memory_bytes, 128 * MIB);
	assert_int_equal(qemu("-m nan").memory_bytes, 128 * MIB);
}

static void test_uuid_forms(void **state)
{
	(void)state;
	assert_string_equal(qemu("-uuid 6f5e3a94-0000-0000-0000-0123456789aB").uuid,
			    "6f5e3a94-0000-0000-0000-0123456789ab");
	assert_string_equal(qemu("-uuid 00000000-0000-0000-0000-000000000000").uuid, "");
	assert_string_equal(qemu("-uuid 6f5e3a94").uuid, "");
	assert_string_equal(qemu("-uuid 6f5e3a94-0000-0000-0000-0123456789abcd").uuid, "");
}

static void test_accelerators(void **state)
{
	(void)state;
	assert_true(qemu("-m 64").may_be_tcg);
	assert_true(qemu("-accel tcg,thread=multi").may_be_tcg);
	assert_true(qemu("-accel kvm -accel tcg").may_be_tcg);
	assert_true(qemu("-machine q35,accel=kvm:tcg").may_be_tcg);
	assert_true(qemu("-M accel=tcg").may_be_tcg);
	assert_false(qemu("-enable-kvm").may_be_tcg);
	assert_false(qemu("-machine q35,accel=kvm").may_be_tcg);
	assert_false(qemu("-accel qtest").may_be_tcg);
	assert_false(qemu("-accel xen").may_be_tcg);
}

static void test_no_machine_no_guest(void **state)
{
	static const char *const none[] = {"-S -no-user-config -machine none,accel=kvm:tcg",
					   "-M none",
					   "-machine type=none",
					   "-machine help",
					   "-version",
					   "--help",
					   "-h",
					   "-cpu help",
					   "-device help",
					   "-accel help",
					   "-M ?"};

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_true(qemu(none[i]).runs_none);
	assert_false(qemu("-machine nonesuch").runs_none);
	assert_false(qemu("-S -machine pc").runs_none);
}

static void test_monitors(void **state)
{
	struct vmm_args a;

	(void)state;
	assert_string_equal(qemu("-qmp unix:q.sock,server,nowait").qmp[0].path, "q.sock");
	assert_string_equal(qemu("-qmp-pretty unix:/a,,b,server=on").qmp[0].path, "/a,b");
	assert_string_equal(qemu("-mon m,mode=control -chardev "
				 "socket,id=m,path=/q,server=on")
				    .qmp[0]
				    .path,
			    "/q");
	assert_string_equal(qemu("-qmp chardev:m -chardev socket,path=/q,server,id=m").qmp[0].path,
			    "/q");
	assert_int_equal(qemu("-qmp stdio").qmp_count, 0);
	assert_int_equal(qemu("-qmp tcp:localhost:4444,server=on").qmp_count, 0);
	assert_int_equal(qemu("-qmp unix:/client").qmp_count, 0);
	assert_int_equal(qemu("-qmp unix:/x,server=on,abstract=on").qmp_count, 0);
	assert_int_equal(qemu("-monitor unix:/hmp,server=on").qmp_count, 0);
	assert_int_equal(qemu("-mon chardev=m,mode=readline -chardev "
			      "socket,id=m,path=/q,server=on")
				 .qmp_count,
			 0);
	assert_int_equal(qemu("-mon chardev=nosuch,mode=control").qmp_count, 0);
	/* One that nobody was handed goes before those that were passed. */
	a = qemu("-chardev socket,id=m,fd=20,server=on -mon chardev=m,mode=control "
		 "-qmp unix:/mine,server=on -qmp unix:/other,server=on");
	assert_int_equal(a.qmp_count, 3);
	assert_string_equal(a.qmp[0].path, "/mine");
	assert_string_equal(a.qmp[1].path, "/other");
	assert_int_equal(a.qmp[2].fd, 20);
	a = qemu("-qmp unix:/1,server -qmp unix:/2,server -qmp unix:/3,server -qmp unix:/4,server "
		 "-qmp unix:/5,server");
	assert_int_equal(a.qmp_count, VMM_QMP_MAX);
	assert_string_equal(a.qmp[3].path, "/4");
}

static void test_json_chardev(void **state)
{
	(void)state;
	assert_string_equal(
		qemu("-chardev {\"id\":\"m\",\"backend\":{\"type\":\"socket\",\"data\":{\"addr\":"
		     "{\"type\":\"unix\",\"data\":{\"path\":\"/json\"}},\"server\":true}}} "
		     "-mon {\"chardev\":\"m\",\"mode\":\"control\"}")
			.qmp[0]
			.path,
		"/json");
	assert_int_equal(
		qemu("-chardev {\"id\":\"m\",\"backend\":{\"type\":\"socket\",\"data\":"
		     "{\"addr\":{\"type\":\"fd\",\"data\":{\"str\":\"7\"}},\"server\":true}}} "
		     "-mon chardev=m,mode=control")
			.qmp[0]
			.fd,
		7);
}

static void test_path_that_does_not_fit_is_none(void **state)
{
	char options[GUEST_PATH_MAX + 100];

	(void)state;
	snprintf(options, sizeof(options), "-qmp unix:/%0*d,server=on", GUEST_PATH_MAX - 2, 0);
	assert_int_equal(strlen(qemu(options).qmp[0].path), GUEST_PATH_MAX - 1);
	snprintf(options, sizeof(options), "-qmp unix:/%0*d,server=on", GUEST_PATH_MAX - 1, 0);
	assert_int_equal(qemu(options).qmp_count, 0);
}

static void forward(const char *text, const char *host, int port)
{
	struct vmm_args a = qemu(text);

	assert_int_equal(a.ssh_port, port);
	assert_string_equal(a.ssh_host, host);
}

static void test_forwards(void **state)
{
	(void)state;
	forward("-netdev user,id=n,hostfwd=tcp::2222-:22", "127.0.0.1", 2222);
	forward("-nic user,model=virtio,hostfwd=tcp:0.0.0.0:2222-:22", "127.0.0.1", 2222);
	forward("-net nic -net user,hostfwd=::2222-10.0.2.15:22", "127.0.0.1", 2222);
	forward("-netdev user,id=n,hostfwd=tcp:192.168.7.1:22-:22", "192.168.7.1", 22);
	forward("-netdev user,id=n,hostfwd=tcp:[::1]:2222-[fec0::15]:22", "::1", 2222);
	forward("-netdev user,id=n,hostfwd=tcp:[::]:2222-:22", "::1", 2222);
	forward("-netdev user,id=n,hostfwd=tcp::80-:80,hostfwd=udp::22-:22,hostfwd=tcp::9-:22",
		"127.0.0.1", 9);
	forward("-netdev user,id=n,hostfwd=tcp::9-:22 -netdev user,id=m,hostfwd=tcp::10-:22",
		"127.0.0.1", 9);
	forward("-netdev user,id=n,hostfwd=tcp::2222-:2222", "", 0);
	forward("-netdev user,id=n,hostfwd=tcp::0-:22", "", 0);
	forward("-netdev user,id=n,hostfwd=tcp::70000-:22", "", 0);
	forward("-netdev user,id=n,hostfwd=tcp:evil.example:2222-:22", "", 0);
	forward("-netdev user,id=n,hostfwd=tcp:-oProxyCommand=x:2222-:22", "", 0);
	forward("-netdev user,id=n,guestfwd=tcp:10.0.2.1:22-tcp:1.2.3.4:22", "", 0);
	forward("-netdev tap,id=n,hostfwd=tcp::2222-:22", "", 0);
	forward("-netdev {\"type\":\"user\",\"hostfwd\":[\"tcp::7-:22\"]}", "127.0.0.1", 7);
	forward("-netdev {\"type\":\"user\",\"hostfwd\":\"tcp::7-:22\"}", "127.0.0.1", 7);
	forward("-netdev user,hostfwd", "", 0);
}

static void test_vsock(void **state)
{
	(void)state;
	assert_int_equal(qemu("-device vhost-vsock-pci,id=v,guest-cid=4294967294").vsock_cid,
			 4294967294u);
	assert_int_equal(qemu("-device vhost-vsock-device,guest-cid=2").vsock_cid, 0);
	assert_int_equal(qemu("-device vhost-vsock-pci,guest-cid=4294967295").vsock_cid, 0);
	assert_int_equal(qemu("-device {\"driver\":\"vhost-vsock-ccw\",\"guest-cid\":9}").vsock_cid,
			 9);
	/* Behind these there is a process with a unix socket, and no AF_VSOCK. */
	assert_int_equal(qemu("-chardev socket,id=c,path=/v.sock "
			      "-device vhost-user-vsock-pci,chardev=c")
				 .vsock_cid,
			 0);
	assert_int_equal(
		parse("/usr/bin/cloud-hypervisor", "ch --vsock cid=3,socket=/ch.vsock").vsock_cid,
		0);
	assert_int_equal(parse("/usr/bin/lkvm", "lkvm run --vsock 5 -k /k").vsock_cid, 5);
	assert_int_equal(
		parse("/usr/bin/crosvm", "crosvm run --vsock cid=6,device=/d /k").vsock_cid, 6);
	assert_int_equal(parse("/usr/bin/crosvm", "crosvm run --cid=7 /k").vsock_cid, 7);
	assert_int_equal(parse("/usr/bin/lkvm", "lkvm run --vsock 1").vsock_cid, 0);
}

static void test_other_vmms(void **state)
{
	struct vmm_args a;

	(void)state;
	a = parse("/usr/bin/firecracker", "/firecracker --id 551e7604-e35c --start-time-us 1 "
					  "--api-sock /run/firecracker.socket");
	assert_false(a.is_qemu);
	assert_string_equal(a.vmm, "firecracker");
	assert_string_equal(a.name, "551e7604-e35c");
	assert_int_equal(a.memory_bytes, 0);
	a = parse("/usr/bin/lkvm", "lkvm run --name=dev -m 256 -c 2 -k bzImage");
	assert_string_equal(a.name, "dev");
	assert_int_equal(a.memory_bytes, 256 * MIB);
	a = parse("/usr/local/bin/cloud-hypervisor",
		  "cloud-hypervisor --kernel vmlinux --cpus boot=4 --memory size=1G,shared=on");
	assert_string_equal(a.name, "cloud-hypervisor");
	assert_false(a.has_name);
	assert_int_equal(a.memory_bytes, 1024 * MIB);
	a = parse("/usr/bin/crosvm", "crosvm run --mem 2048 --name");
	assert_string_equal(a.name, "crosvm");
	assert_int_equal(a.memory_bytes, 2048 * MIB);
}

static void test_what_is_qemu(void **state)
{
	(void)state;
	assert_true(vmmargs_is_qemu("/usr/bin/qemu-system-aarch64"));
	assert_true(vmmargs_is_qemu("/nix/store/x/bin/.qemu-system-x86_64-wrapped"));
	assert_true(vmmargs_is_qemu("/usr/libexec/qemu-kvm"));
	assert_false(vmmargs_is_qemu("/usr/bin/qemu-img"));
	assert_false(vmmargs_is_qemu("/usr/bin/qemu-x86_64-static"));
	assert_false(vmmargs_is_qemu("/opt/qemu-system-x86_64/bin/sh"));
	assert_true(parse("/lib64/ld-linux-x86-64.so.2", "/usr/bin/qemu-system-x86_64 -name x")
			    .is_qemu);
	assert_true(parse(NULL, "qemu-system-x86_64 -name x").is_qemu);
}

static void test_hostile_bytes(void **state)
{
	struct vmm_args a;
	char *many = calloc(1, VMM_CMDLINE_MAX + 100);

	(void)state;
	assert_int_equal(vmmargs_parse(QEMU, "", 0, &a), -ENODATA);
	assert_int_equal(vmmargs_parse(QEMU, "\0\0\0", 3, &a), 0);
	assert_int_equal(vmmargs_parse(NULL, "\0", 1, &a), 0);
	assert_string_equal(a.name, "vmm");
	/* Not ended by a NUL: setproctitle(3) does that. */
	assert_int_equal(vmmargs_parse(QEMU, "qemu\0-name\0abc-overrun", 14, &a), 0);
	assert_string_equal(a.name, "abc");
	assert_int_equal(vmmargs_parse(QEMU, many, VMM_CMDLINE_MAX + 100, &a), 0);
	memset(many, '[', VMM_CMDLINE_MAX);
	memcpy(many, "q\0-device\0{\"a\":", 15);
	assert_int_equal(vmmargs_parse(QEMU, many, VMM_CMDLINE_MAX, &a), 0);
	assert_int_equal(qemu("-device {\"driver\":[{\"str\":{}}],\"name\":null}").vsock_cid, 0);
	assert_int_equal(qemu("-netdev {\"type\":\"user\",\"hostfwd\":[[],{},null,1]}").ssh_port,
			 0);
	assert_int_equal(qemu("-mon ,,,=,mode=control,chardev=,").qmp_count, 0);
	free(many);
}

static size_t add(char *bytes, size_t at, const char *arg)
{
	memcpy(bytes + at, arg, strlen(arg) + 1);
	return at + strlen(arg) + 1;
}

static double parse_seconds(const char *bytes, size_t n)
{
	uint64_t before = cpu_now_ns();
	struct vmm_args a;

	assert_int_equal(vmmargs_parse(QEMU, bytes, n, &a), 0);
	return (double)(cpu_now_ns() - before) / 1e9;
}

/* A stranger's command line must not keep the search for guests busy: each of these took
 * minutes. */
static void test_long_command_lines_are_quick(void **state)
{
	char *bytes = malloc(VMM_CMDLINE_MAX);
	char device[512];
	size_t n = add(bytes, 0, "q");

	(void)state;
	n = add(bytes, n, "-netdev");
	memcpy(bytes + n, "user", 4);
	for (n += 4; n + 16 < VMM_CMDLINE_MAX; n += 9)
		memcpy(bytes + n, ",hostfwd=", 9);
	assert_true(parse_seconds(bytes, n) < 5 * SLOWER);

	memset(device, 'x', sizeof(device));
	memcpy(device, "{\"id\":\"y\",\"a\":\"", 15);
	snprintf(device + sizeof(device) - 3, 3, "\"}");
	n = add(bytes, 0, "q");
	for (int i = 0; i < 2000; i++) {
		n = add(bytes, n, "-chardev");
		n = add(bytes, n, device);
		n = add(bytes, n, "-mon");
		n = add(bytes, n, "mode=control,chardev=z");
	}
	assert_true(parse_seconds(bytes, n) < 5 * SLOWER);
	free(bytes);
}

static void test_machines(void **state)
{
	static const struct {
		const char *options;
		enum guest_machine machine;
	} cases[] = {
		{"-m 1G", GUEST_MACHINE_PC},
		{"-M pc", GUEST_MACHINE_PC},
		{"-machine pc-i440fx-7.2,accel=kvm", GUEST_MACHINE_PC},
		{"-machine type=pc+pve0", GUEST_MACHINE_PC},
		{"-M pc-i440fx-rhel7.6.0", GUEST_MACHINE_PC},
		{"-M ubuntu", GUEST_MACHINE_PC},
		{"-machine accel=tcg,type=q35", GUEST_MACHINE_Q35},
		{"-machine accel=tcg -M q35", GUEST_MACHINE_Q35},
		{"-M pc-q35-rhel9.2.0", GUEST_MACHINE_Q35},
		{"-M ubuntu-q35", GUEST_MACHINE_Q35},
		{"-M microvm,pit=off", GUEST_MACHINE_MICROVM},
		{"-M isapc", GUEST_MACHINE_UNKNOWN},
		{"-readconfig /etc/vm.cfg", GUEST_MACHINE_UNKNOWN},
		{"-readconfig /usr/share/pve-q35-4.0.cfg -machine type=q35+pve0",
		 GUEST_MACHINE_Q35},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(qemu(cases[i].options).ram.machine, cases[i].machine);
}

static void test_memory_below_4g(void **state)
{
	(void)state;
	assert_int_equal(qemu("-M pc").ram.below_4g_max, 0);
	assert_int_equal(qemu("-M pc,max-ram-below-4g=2G").ram.below_4g_max, 2048 * MIB);
	assert_int_equal(qemu("-M pc,max-ram-below-4g=2147483648").ram.below_4g_max, 2048 * MIB);
	assert_int_equal(qemu("-M pc,max-ram-below-4g=x").ram.below_4g_max, 0);
}

static void test_base_memory(void **state)
{
	struct vmm_args a;

	(void)state;
	assert_int_equal(qemu("-m 1G,slots=4,maxmem=8G").ram.base_bytes, 1024 * MIB);
	assert_int_equal(qemu("-nodefaults").ram.base_bytes, 128 * MIB);
	assert_int_equal(qemu("-readconfig a").ram.base_bytes, 0);
	/* The backend says how much there is when -m does not. */
	a = qemu("-machine q35,memory-backend=ram -object memory-backend-memfd,id=ram,size=3G");
	assert_int_equal(a.ram.base_bytes, 3072 * MIB);
	assert_int_equal(a.memory_bytes, 3072 * MIB);
	a = qemu("-object "
		 "{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\",\"size\":1073741824} "
		 "-machine pc,memory-backend=pc.ram -m 1024");
	assert_int_equal(a.ram.base_bytes, 1024 * MIB);
	assert_int_equal(a.ram.part_count, 1);
	assert_int_equal(parse("/usr/bin/cloud-hypervisor", "ch --memory size=2G").ram.base_bytes,
			 2048 * MIB);
}

static void assert_part(const struct vmm_args *a, size_t i, uint64_t bytes, unsigned made)
{
	assert_true(i < a->ram.part_count);
	assert_int_equal(a->ram.parts[i].bytes, bytes);
	assert_int_equal(a->ram.parts[i].made, made);
}

static void test_numa_backends(void **state)
{
	struct vmm_args a = qemu("-m 5G -object memory-backend-ram,id=c,size=2G "
				 "-object memory-backend-ram,id=b,size=3G "
				 "-object memory-backend-ram,id=a,size=2G "
				 "-numa node,nodeid=0,memdev=a -numa node,nodeid=1,memdev=b");

	(void)state;
	assert_int_equal(a.ram.part_count, 2);
	assert_part(&a, 0, 2048 * MIB, 1);
	assert_part(&a, 1, 3072 * MIB, 0);

	/* The other way round, as libvirt writes it, and before the backends. */
	a = qemu("-numa node,nodeid=1,cpus=1,memdev=ram-node1 "
		 "-numa {\"type\":\"node\",\"nodeid\":0,\"memdev\":\"ram-node0\"} "
		 "-object "
		 "{\"qom-type\":\"memory-backend-file\",\"id\":\"ram-node0\",\"size\":1048576} "
		 "-object "
		 "{\"qom-type\":\"memory-backend-file\",\"id\":\"ram-node1\",\"size\":1048576}");
	assert_int_equal(a.ram.part_count, 2);
	assert_part(&a, 0, MIB, 0);
	assert_part(&a, 1, MIB, 1);

	/* Numbered as they come; nodes without memory. */
	a = qemu("-object memory-backend-ram,id=a,size=1G -numa node,cpus=0 -numa node,memdev=a "
		 "-numa dist,src=0,dst=1,val=20");
	assert_int_equal(a.ram.part_count, 1);
	assert_part(&a, 0, 1024 * MIB, 0);
	assert_part(&(struct vmm_args){.ram = qemu("-numa node,nodeid=99,memdev=a").ram}, 0,
		    128 * MIB, 0);
}

/* The machine's own memory is made after the backends, those that are named by it when they
 * are. */
static void test_one_part(void **state)
{
	struct vmm_args a;

	(void)state;
	a = qemu("-m 1G -object memory-backend-ram,id=dimm,size=1G -device pc-dimm,memdev=dimm");
	assert_int_equal(a.ram.part_count, 1);
	assert_part(&a, 0, 1024 * MIB, 1);
	a = qemu("-m 1G -M q35,memory-backend=ram -object memory-backend-ram,id=ram,size=1G "
		 "-object memory-backend-ram,id=dimm,size=1G");
	assert_int_equal(a.ram.part_count, 1);
	assert_part(&a, 0, 1024 * MIB, 0);
	assert_int_equal(qemu("-readconfig a").ram.part_count, 0);
}

static enum guest_encryption encryption(const char *options)
{
	return qemu(options).ram.encryption;
}

static void test_encryption(void **state)
{
	(void)state;
	assert_int_equal(encryption("-M q35"), GUEST_PLAIN);
	assert_int_equal(encryption("-object sev-guest,id=sev0,cbitpos=47,reduced-phys-bits=1 "
				    "-M q35,confidential-guest-support=sev0"),
			 GUEST_ENCRYPTED_SEV);
	assert_int_equal(
		encryption("-M q35,memory-encryption=sev0 -object sev-guest,id=sev0,policy=0x1"),
		GUEST_ENCRYPTED_SEV);
	assert_int_equal(
		encryption("-M q35,memory-encryption=sev0 -object sev-guest,id=sev0,policy=0x5"),
		GUEST_ENCRYPTED_SEV_ES);
	assert_int_equal(
		encryption("-object {\"qom-type\":\"sev-guest\",\"id\":\"lsec0\",\"policy\":7} "
			   "-machine q35,confidential-guest-support=lsec0"),
		GUEST_ENCRYPTED_SEV_ES);
	assert_int_equal(encryption("-object sev-snp-guest,id=s,policy=0x30000 "
				    "-machine q35 -machine confidential-guest-support=s"),
			 GUEST_ENCRYPTED_SEV_SNP);
	assert_int_equal(encryption("-object {\"qom-type\":\"tdx-guest\",\"id\":\"tdx0\"} "
				    "-M q35,kernel-irqchip=split,confidential-guest-support=tdx0"),
			 GUEST_ENCRYPTED_TDX);
	/* An object that nothing uses encrypts nothing. */
	assert_int_equal(encryption("-object tdx-guest,id=tdx0 -M q35"), GUEST_PLAIN);
	assert_int_equal(encryption("-object tdx-guest,id=tdx0 -M q35,memory-encryption=tdx1"),
			 GUEST_PLAIN);
	assert_int_equal(parse("/usr/bin/cloud-hypervisor", "ch --platform tdx=on").ram.encryption,
			 GUEST_ENCRYPTED_TDX);
	assert_int_equal(parse("/usr/bin/cloud-hypervisor", "ch --platform num_pci_segments=1")
				 .ram.encryption,
			 GUEST_PLAIN);
}

static void test_many_objects(void **state)
{
	enum { COUNT = 200 };
	char *line = malloc(COUNT * 64);
	size_t n = (size_t)sprintf(line, "qemu-system-x86_64");
	struct vmm_args a;

	(void)state;
	for (int i = 0; i < COUNT; i++)
		n += (size_t)sprintf(line + n, " -object memory-backend-ram,id=r%d,size=1M", i);
	for (int i = 0; i < 64; i++)
		n += (size_t)sprintf(line + n, " -numa node,memdev=r%d", i);
	a = parse(QEMU, line);
	assert_int_equal(a.ram.part_count, GUEST_RAM_PARTS_MAX);
	free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_qemu),
		cmocka_unit_test(test_libvirt),
		cmocka_unit_test(test_proxmox),
		cmocka_unit_test(test_name_forms),
		cmocka_unit_test(test_long_name_is_cut),
		cmocka_unit_test(test_memory_forms),
		cmocka_unit_test(test_uuid_forms),
		cmocka_unit_test(test_accelerators),
		cmocka_unit_test(test_no_machine_no_guest),
		cmocka_unit_test(test_monitors),
		cmocka_unit_test(test_json_chardev),
		cmocka_unit_test(test_path_that_does_not_fit_is_none),
		cmocka_unit_test(test_forwards),
		cmocka_unit_test(test_vsock),
		cmocka_unit_test(test_other_vmms),
		cmocka_unit_test(test_what_is_qemu),
		cmocka_unit_test(test_hostile_bytes),
		cmocka_unit_test(test_machines),
		cmocka_unit_test(test_memory_below_4g),
		cmocka_unit_test(test_base_memory),
		cmocka_unit_test(test_numa_backends),
		cmocka_unit_test(test_one_part),
		cmocka_unit_test(test_encryption),
		cmocka_unit_test(test_many_objects),
		cmocka_unit_test(test_long_command_lines_are_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
