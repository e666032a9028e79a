// SPDX-License-Identifier: Apache-2.0
#include "lab/node/container_spec.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/map.h"
#include "base/memory.h"
#include "lab/node/environment.h"
#include "lab/node/quantity.h"

#define CPU_PERIOD_US 100000u
#define CPU_QUOTA_MIN_US 1000u
#define CPU_SHARES_MIN 2u

struct spec {
    struct arena *arena;
    const struct pod_context *context;
    const struct json_value *container;
    const struct image *image;
    const struct container_place *place;
    const struct json_value *pod_security;
    const struct json_value *security;
    bool is_privileged;
};

static const char *const default_capabilities[] = {
    "CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER",           "CAP_MKNOD",      "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP",      "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",    "CAP_AUDIT_WRITE",
};

static const char *const all_capabilities[] = {
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
    "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_SYS_NICE", "CAP_MKNOD",
    "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_SETFCAP",
};

static void push_cstr(struct spec *spec, struct json_value *list, const char *text)
{
    json_push(spec->arena, list, json_new_cstr(spec->arena, text));
}

static void push_str(struct spec *spec, struct json_value *list, struct str text)
{
    json_push(spec->arena, list, json_new_str(spec->arena, text));
}

// A field of the container's securityContext, else of the pod's.
static const struct json_value *security_field(const struct spec *spec, const char *name)
{
    const struct json_value *value = json_get(spec->security, name);
    return value != NULL ? value : json_get(spec->pod_security, name);
}

// --- process ---------------------------------------------------------------------------------------

static void push_expanded(struct spec *spec, const struct map *values, struct json_value *out, const struct json_value *list)
{
    for (size_t i = 0; i < json_count(list); i++) {
        push_str(spec, out, environment_expand(spec->arena, values, json_str(json_at(list, i))));
    }
}

// command replaces the entry point, args the default argument; a command alone has no arguments.
static struct json_value *build_arguments(struct spec *spec, const struct map *values)
{
    struct json_value *arguments = json_new_array(spec->arena);
    const struct json_value *command = json_get(spec->container, "command");
    const struct json_value *args = json_get(spec->container, "args");
    if (json_count(command) > 0) {
        push_expanded(spec, values, arguments, command);
    } else if (spec->image->program != NULL) {
        push_cstr(spec, arguments, spec->image->program);
    }
    if (json_count(args) > 0) {
        push_expanded(spec, values, arguments, args);
    } else if (json_count(command) == 0 && spec->image->argument != NULL) {
        push_cstr(spec, arguments, spec->image->argument);
    }
    return arguments;
}

static struct json_value *build_environment(struct spec *spec, const struct map *values)
{
    struct json_value *list = json_new_array(spec->arena);
    struct str name;
    void *value = NULL;
    for (size_t at = 0; map_each(values, &at, &name, &value);) {
        const struct str *text = value;
        push_str(spec, list, arena_format(spec->arena, "%.*s=%.*s", STR_ARG(name), STR_ARG(*text)));
    }
    return list;
}

static void add_group(struct spec *spec, struct json_value *groups, const struct json_value *group)
{
    int64_t number = 0;
    if (json_int(group, &number)) {
        json_push(spec->arena, groups, json_new_int(spec->arena, number));
    }
}

static enum err build_user(struct spec *spec, struct json_value **ret_user, struct error *err)
{
    int64_t uid = spec->image->uid;
    int64_t gid = spec->image->gid;
    bool must_not_be_root = false;
    const struct json_value *field = security_field(spec, "runAsNonRoot");
    if (json_int(security_field(spec, "runAsUser"), &uid) && json_get(spec->security, "runAsGroup") == NULL &&
        json_get(spec->pod_security, "runAsGroup") == NULL) {
        gid = uid == spec->image->uid ? spec->image->gid : 0;
    }
    (void)json_int(security_field(spec, "runAsGroup"), &gid);
    must_not_be_root = json_is(field, JSON_BOOL) && field->boolean;
    if (must_not_be_root && uid == 0) {
        return error_set(err, ERR_INVALID, "container has runAsNonRoot and image will run as root");
    }
    struct json_value *user = json_new_object(spec->arena);
    json_set_int(spec->arena, user, "uid", uid);
    json_set_int(spec->arena, user, "gid", gid);
    struct json_value *groups = json_ensure_array(spec->arena, user, "additionalGids");
    add_group(spec, groups, json_get(spec->pod_security, "fsGroup"));
    const struct json_value *more = json_get(spec->pod_security, "supplementalGroups");
    for (size_t i = 0; i < json_count(more); i++) {
        add_group(spec, groups, json_at(more, i));
    }
    *ret_user = user;
    return ERR_OK;
}

static struct str capability_name(struct spec *spec, struct str name)
{
    return str_starts_with(name, STR("CAP_")) ? name : arena_format(spec->arena, "CAP_%.*s", STR_ARG(name));
}

static bool list_has(const struct json_value *list, struct str text)
{
    for (size_t i = 0; i < json_count(list); i++) {
        if (str_equal(json_str(json_at(list, i)), text)) {
            return true;
        }
    }
    return false;
}

static struct json_value *build_capability_set(struct spec *spec)
{
    const struct json_value *changes = json_get(spec->security, "capabilities");
    const struct json_value *add = json_get(changes, "add");
    const struct json_value *drop = json_get(changes, "drop");
    struct json_value *set = json_new_array(spec->arena);
    bool has_all = spec->is_privileged || list_has(add, STR("ALL"));
    const char *const *names = has_all ? all_capabilities : default_capabilities;
    size_t count = has_all ? array_count(all_capabilities) : array_count(default_capabilities);
    for (size_t i = 0; i < count && (has_all || !list_has(drop, STR("ALL"))); i++) {
        struct str name = str_of(names[i]);
        if (!list_has(drop, name) && !list_has(drop, str_from(name, 4))) {
            push_str(spec, set, name);
        }
    }
    for (size_t i = 0; i < json_count(add); i++) {
        struct str name = capability_name(spec, json_str(json_at(add, i)));
        if (!str_equal_c(name, "CAP_ALL") && !list_has(set, name)) {
            push_str(spec, set, name);
        }
    }
    return set;
}

static struct json_value *build_capabilities(struct spec *spec)
{
    // The kernel keeps them for root; other users have them in the bounding set only, as containerd does.
    static const char *const sets[] = {"bounding", "effective", "permitted"};
    struct json_value *capabilities = json_new_object(spec->arena);
    struct json_value *set = build_capability_set(spec);
    for (size_t i = 0; i < array_count(sets); i++) {
        json_set(spec->arena, capabilities, str_of(sets[i]), set);
    }
    return capabilities;
}

static enum err build_process(struct spec *spec, struct json_value **ret_process, struct error *err)
{
    struct map values = {0};
    struct json_value *user = NULL;
    struct json_value *process = json_new_object(spec->arena);
    enum err code = environment_build(spec->arena, spec->context, spec->container, spec->image->environment, &values, err);
    if (code == ERR_OK) {
        code = build_user(spec, &user, err);
    }
    if (code == ERR_OK) {
        struct json_value *arguments = build_arguments(spec, &values);
        struct str directory = json_get_str(spec->container, "workingDir");
        const struct json_value *escalation = json_get(spec->security, "allowPrivilegeEscalation");
        if (json_count(arguments) == 0) {
            code = error_set(err, ERR_INVALID, "no command specified: neither the image nor the container has one");
        }
        json_set_bool(spec->arena, process, "terminal", false);
        json_set(spec->arena, process, STR("user"), user);
        json_set(spec->arena, process, STR("args"), arguments);
        json_set(spec->arena, process, STR("env"), build_environment(spec, &values));
        json_set_str(spec->arena, process, "cwd", str_is_empty(directory) ? STR("/") : directory);
        json_set(spec->arena, process, STR("capabilities"), build_capabilities(spec));
        json_set_bool(spec->arena, process, "noNewPrivileges", json_is(escalation, JSON_BOOL) && !escalation->boolean);
    }
    map_done(&values);
    *ret_process = process;
    return code;
}

// --- mounts ----------------------------------------------------------------------------------------

static void add_mount(struct spec *spec, struct json_value *mounts, struct str destination, const char *type, struct str source,
                      const char *const *options)
{
    struct json_value *mount = json_new_object(spec->arena);
    struct json_value *list = json_new_array(spec->arena);
    json_set_str(spec->arena, mount, "destination", destination);
    json_set_cstr(spec->arena, mount, "type", type);
    json_set_str(spec->arena, mount, "source", source);
    for (size_t i = 0; options[i] != NULL; i++) {
        push_cstr(spec, list, options[i]);
    }
    json_set(spec->arena, mount, STR("options"), list);
    json_push(spec->arena, mounts, mount);
}

static void add_bind(struct spec *spec, struct json_value *mounts, struct str destination, struct str source, bool read_only)
{
    static const char *const writable[] = {"rbind", "rprivate", NULL};
    static const char *const fixed[] = {"rbind", "rprivate", "ro", NULL};
    add_mount(spec, mounts, destination, "bind", source, read_only ? fixed : writable);
}

static void add_system_mounts(struct spec *spec, struct json_value *mounts)
{
    static const struct {
        const char *destination;
        const char *type;
        const char *options[6];
    } system[] = {
        {"/proc", "proc", {"nosuid", "noexec", "nodev", NULL}},
        {"/dev", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k", NULL}},
        {"/dev/pts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", NULL}},
        {"/dev/shm", "tmpfs", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k", NULL}},
        {"/dev/mqueue", "mqueue", {"nosuid", "noexec", "nodev", NULL}},
        {"/sys", "sysfs", {"nosuid", "noexec", "nodev", "ro", NULL}},
    };
    for (size_t i = 0; i < array_count(system); i++) {
        const char *options[7] = {0};
        for (size_t k = 0; k < 6; k++) {
            options[k] = system[i].options[k];
        }
        add_mount(spec, mounts, str_of(system[i].destination), system[i].type, str_of(system[i].type), options);
    }
}

static const char *const machine_paths[] = {
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/ssl", "/etc/ca-certificates", "/etc/alternatives",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types", "/etc/protocols",
    "/etc/services",
};

static void add_machine_mounts(struct spec *spec, struct json_value *mounts)
{
    for (size_t i = 0; i < array_count(machine_paths); i++) {
        struct stat status;
        // Links (bin → usr/bin) are part of the root itself: container_root_make.
        if (lstat(machine_paths[i], &status) == 0 && !S_ISLNK(status.st_mode)) {
            add_bind(spec, mounts, str_of(machine_paths[i]), str_of(machine_paths[i]), true);
        }
    }
    add_bind(spec, mounts, STR(IMAGE_PROGRAMS), spec->place->programs, true);
    add_bind(spec, mounts, STR("/etc/hosts"), spec->place->hosts_file, false);
    add_bind(spec, mounts, STR("/etc/resolv.conf"), spec->place->resolv_file, false);
}

static const struct json_value *find_volume(const struct spec *spec, struct str name)
{
    const struct json_value *volumes = json_path(spec->context->pod, "spec", "volumes", NULL);
    for (size_t i = 0; i < json_count(volumes); i++) {
        if (str_equal(json_get_str(json_at(volumes, i), "name"), name)) {
            return json_at(volumes, i);
        }
    }
    return NULL;
}

static bool is_inside(struct str path)
{
    for (struct str rest = path; rest.data != NULL;) {
        if (str_equal_c(str_split(&rest, '/'), "..")) {
            return false;
        }
    }
    return true;
}

static enum err add_volume_mount(struct spec *spec, struct json_value *mounts, const struct json_value *mount, struct error *err)
{
    struct str name = json_get_str(mount, "name");
    struct str path = json_get_str(mount, "mountPath");
    struct str sub_path = json_get_str(mount, "subPath");
    const struct json_value *volume = find_volume(spec, name);
    if (volume == NULL) {
        return error_set(err, ERR_INVALID, "volume \"%.*s\" is mounted but not declared", STR_ARG(name));
    }
    if (!is_inside(sub_path) || str_starts_with(sub_path, STR("/"))) {
        return error_set(err, ERR_INVALID, "subPath \"%.*s\" leaves its volume", STR_ARG(sub_path));
    }
    struct str host_path = json_str(json_path(volume, "hostPath", "path", NULL));
    struct str source = !str_is_empty(host_path) ? host_path
                                                 : arena_format(spec->arena, "%.*s/%.*s", STR_ARG(spec->place->volumes), STR_ARG(name));
    if (!str_is_empty(sub_path)) {
        source = arena_format(spec->arena, "%.*s/%.*s", STR_ARG(source), STR_ARG(sub_path));
    }
    // Contents the agent writes are not the container's to change.
    bool is_written = json_get(volume, "configMap") != NULL || json_get(volume, "secret") != NULL ||
                      json_get(volume, "projected") != NULL || json_get(volume, "downwardAPI") != NULL;
    add_bind(spec, mounts, path, source, is_written || json_get_bool(mount, "readOnly", false));
    return ERR_OK;
}

// Shorter paths first, so that /var/run is mounted before /var/run/secrets.
static void sort_mounts(struct json_value *mounts, size_t from)
{
    struct json_value **items = mounts->array.items;
    for (size_t i = from + 1; i < mounts->array.count; i++) {
        struct json_value *moving = items[i];
        size_t at = i;
        for (; at > from && json_get_str(items[at - 1], "destination").size > json_get_str(moving, "destination").size; at--) {
            items[at] = items[at - 1];
        }
        items[at] = moving;
    }
}

static enum err build_mounts(struct spec *spec, struct json_value **ret_mounts, struct error *err)
{
    struct json_value *mounts = json_new_array(spec->arena);
    const struct json_value *wanted = json_get(spec->container, "volumeMounts");
    add_system_mounts(spec, mounts);
    add_machine_mounts(spec, mounts);
    size_t first = json_count(mounts);
    for (size_t i = 0; i < json_count(wanted); i++) {
        enum err code = add_volume_mount(spec, mounts, json_at(wanted, i), err);
        if (code != ERR_OK) {
            return code;
        }
    }
    sort_mounts(mounts, first);
    *ret_mounts = mounts;
    return ERR_OK;
}

// --- linux -----------------------------------------------------------------------------------------

static void add_namespace(struct spec *spec, struct json_value *list, const char *type, struct str path)
{
    struct json_value *ns = json_new_object(spec->arena);
    json_set_cstr(spec->arena, ns, "type", type);
    if (!str_is_empty(path)) {
        json_set_str(spec->arena, ns, "path", path);
    }
    json_push(spec->arena, list, ns);
}

static struct json_value *build_namespaces(struct spec *spec)
{
    struct json_value *list = json_new_array(spec->arena);
    add_namespace(spec, list, "pid", STR_EMPTY);
    add_namespace(spec, list, "mount", STR_EMPTY);
    if (!str_is_empty(spec->place->net_namespace)) {
        add_namespace(spec, list, "network", spec->place->net_namespace);
        add_namespace(spec, list, "uts", spec->place->uts_namespace);
        add_namespace(spec, list, "ipc", spec->place->ipc_namespace);
    }
    return list;
}

static struct json_value *build_resources(struct spec *spec)
{
    struct json_value *resources = json_new_object(spec->arena);
    const struct json_value *amounts = json_get(spec->container, "resources");
    struct str cpu_limit = json_str(json_path(amounts, "limits", "cpu", NULL));
    struct str cpu_request = json_str(json_path(amounts, "requests", "cpu", NULL));
    struct str memory_limit = json_str(json_path(amounts, "limits", "memory", NULL));
    bool has_cpu = spec->place->groups.has_cpu;
    uint64_t amount = 0;
    if (has_cpu && cpu_limit.data != NULL && quantity_parse(cpu_limit, &amount) && amount > 0 && amount < INT32_MAX) {
        uint64_t quota = amount * CPU_PERIOD_US / 1000;
        struct json_value *cpu = json_ensure_object(spec->arena, resources, "cpu");
        json_set_int(spec->arena, cpu, "quota", (int64_t)(quota < CPU_QUOTA_MIN_US ? CPU_QUOTA_MIN_US : quota));
        json_set_int(spec->arena, cpu, "period", CPU_PERIOD_US);
    }
    if (has_cpu && cpu_request.data != NULL && quantity_parse(cpu_request, &amount) && amount < INT32_MAX) {
        uint64_t shares = amount * 1024 / 1000;
        struct json_value *cpu = json_ensure_object(spec->arena, resources, "cpu");
        json_set_int(spec->arena, cpu, "shares", (int64_t)(shares < CPU_SHARES_MIN ? CPU_SHARES_MIN : shares));
    }
    if (spec->place->groups.has_memory && memory_limit.data != NULL && quantity_parse(memory_limit, &amount) && amount / 1000 < INT64_MAX) {
        struct json_value *memory = json_ensure_object(spec->arena, resources, "memory");
        json_set_int(spec->arena, memory, "limit", (int64_t)(amount / 1000));
    }
    return resources;
}

static void add_hidden_paths(struct spec *spec, struct json_value *linux_part)
{
    static const char *const masked[] = {"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                                         "/proc/sched_debug", "/proc/scsi", "/sys/firmware"};
    static const char *const fixed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"};
    if (spec->is_privileged) {
        return;
    }
    struct json_value *list = json_ensure_array(spec->arena, linux_part, "maskedPaths");
    for (size_t i = 0; i < array_count(masked); i++) {
        push_cstr(spec, list, masked[i]);
    }
    list = json_ensure_array(spec->arena, linux_part, "readonlyPaths");
    for (size_t i = 0; i < array_count(fixed); i++) {
        push_cstr(spec, list, fixed[i]);
    }
}

static void add_sysctls(struct spec *spec, struct json_value *linux_part)
{
    const struct json_value *settings = json_get(spec->pod_security, "sysctls");
    struct json_value *out = json_ensure_object(spec->arena, linux_part, "sysctl");
    for (size_t i = 0; i < json_count(settings) && !str_is_empty(spec->place->net_namespace); i++) {
        json_set(spec->arena, out, json_get_str(json_at(settings, i), "name"),
                 json_new_str(spec->arena, json_get_str(json_at(settings, i), "value")));
    }
}

static struct json_value *build_linux(struct spec *spec)
{
    struct json_value *part = json_new_object(spec->arena);
    json_set(spec->arena, part, STR("namespaces"), build_namespaces(spec));
    json_set(spec->arena, part, STR("resources"), build_resources(spec));
    json_set_str(spec->arena, part, "cgroupsPath", spec->place->cgroup);
    add_sysctls(spec, part);
    add_hidden_paths(spec, part);
    return part;
}

enum err container_spec_build(struct arena *arena, const struct pod_context *context, const struct json_value *container,
                              const struct image *image, const struct container_place *place, struct json_value **ret_spec,
                              struct error *err)
{
    struct spec spec = {.arena = arena, .context = context, .container = container, .image = image, .place = place,
                        .pod_security = json_path(context->pod, "spec", "securityContext", NULL),
                        .security = json_get(container, "securityContext")};
    spec.is_privileged = json_get_bool(spec.security, "privileged", false);
    struct json_value *process = NULL;
    struct json_value *mounts = NULL;
    enum err code = build_process(&spec, &process, err);
    if (code == ERR_OK) {
        code = build_mounts(&spec, &mounts, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    struct json_value *out = json_new_object(arena);
    json_set_cstr(arena, out, "ociVersion", "1.0.2");
    json_set(arena, out, STR("process"), process);
    struct json_value *root = json_ensure_object(arena, out, "root");
    json_set_str(arena, root, "path", place->root);
    json_set_bool(arena, root, "readonly", json_get_bool(spec.security, "readOnlyRootFilesystem", false));
    json_set(arena, out, STR("mounts"), mounts);
    json_set(arena, out, STR("linux"), build_linux(&spec));
    *ret_spec = out;
    return ERR_OK;
}
